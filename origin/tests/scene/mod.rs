//! People with everything that can be proved, and what they send at each door where it is.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]
#![expect(clippy::panic, reason = "a failure is the test's failure")]

use axum::http::Method;
use edgekeep_origin::accounts::{self, Identifier, NewAccount};
use edgekeep_origin::config::Channel;
use edgekeep_origin::ids::UserId;
use edgekeep_origin::vault::Secret;
use serde_json::{Value, json};

use crate::authenticator::Authenticator;
use crate::idp::{self, Idp};
use crate::person::{self, App, call, enrol, second_step};
use crate::support::{Origin, Reply};

use Door::{
    Address, BoundRegistration, Change, Erase, Leave, LogOut, MailCode, NewApp, NewCodes, Passkey,
    Password, ProofApp, ProofMail, ProofPasskey, ProofPassword, ProofRecovery, ProofSms, Provider,
    Refresh, Registration, RemoveAddress, RemoveApp, RemoveMail, RemovePasskey, RemoveSms, Reset,
    SecondApp, SecondMail, SecondPasskey, SecondRecovery, SecondSms, SmsCode, TrustedMailCode,
    TrustedSecondMail, TrustedSecondSms, TrustedSmsCode, Unlink,
};

const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const DELETE: Method = Method::DELETE;

pub(crate) const NEW_PASSWORD: &str = "another horse battery";

/// Where something is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Password,
    MailCode,
    SmsCode,
    TrustedMailCode,
    TrustedSmsCode,
    Provider,
    Passkey,
    SecondApp,
    SecondRecovery,
    SecondMail,
    SecondSms,
    TrustedSecondMail,
    TrustedSecondSms,
    SecondPasskey,
    ProofPassword,
    ProofApp,
    ProofRecovery,
    ProofMail,
    ProofSms,
    ProofPasskey,
    Registration,
    BoundRegistration,
    Reset,
    Change,
    Address,
    Refresh,
    LogOut,
    Leave,
    Erase,
    RemoveAddress,
    Unlink,
    NewApp,
    NewCodes,
    RemoveApp,
    RemoveMail,
    RemoveSms,
    RemovePasskey,
}

impl Door {
    /// Whether the account has to have second factors.
    pub(crate) fn needs_factors(self) -> bool {
        !matches!(
            self,
            Password
                | MailCode
                | SmsCode
                | TrustedMailCode
                | TrustedSmsCode
                | Provider
                | ProofPassword
                | Registration
                | BoundRegistration
                | Reset
                | Change
                | Address
                | Refresh
        )
    }

    /// Whether it asks for nothing but the session.
    pub(crate) fn is_act(self) -> bool {
        let acts = [
            LogOut,
            Leave,
            Erase,
            RemoveAddress,
            Unlink,
            NewApp,
            NewCodes,
            RemoveApp,
            RemoveMail,
            RemoveSms,
            RemovePasskey,
        ];
        acts.contains(&self)
    }
}

/// Somebody with everything that can be proved.
pub(crate) struct Person {
    pub(crate) id: UserId,
    pub(crate) email: &'static str,
    phone: &'static str,
    name: &'static str,
    pub(crate) password: &'static str,
    subject: &'static str,
    pub(crate) bearer: String,
    refresh: String,
    device: String,
    app: Option<App>,
    recovery: Vec<String>,
    passkey: Authenticator,
}

impl Person {
    /// A person with addresses, a password and an identity at another provider, logged in.
    async fn new(scene: (&Origin, &Idp), who: usize) -> Self {
        let (origin, idp) = scene;
        let mut person = Self {
            id: UserId::from_bytes([0; 16]),
            email: ["alice@example.org", "bob@example.org"][who],
            phone: ["+41791234567", "+41791234568"][who],
            name: ["alice", "bob"][who],
            password: ["correct horse battery", "battery horse correct"][who],
            subject: ["a", "b"][who],
            bearer: String::new(),
            refresh: String::new(),
            device: String::new(),
            app: None,
            recovery: Vec::new(),
            passkey: Authenticator::new([7, 8][who]),
        };
        let phc = Secret::new(person.password.to_owned());
        let phc = origin.state.hasher.hash(&phc).await.unwrap();
        let new = NewAccount {
            identifiers: &[
                (Identifier::email(person.email).unwrap(), true),
                (Identifier::phone(person.phone, None).unwrap(), true),
                (Identifier::username(person.name).unwrap(), true),
            ],
            password: Some(&phc),
            ..NewAccount::default()
        };
        let mut tx = origin.state.db.write().await.unwrap();
        person.id = accounts::create(&origin.state, &mut tx, &new)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let tokens = person.enter(origin).await;
        person.keep(&tokens.expect(200, ""));
        let (flow, code) = idp
            .link(origin, "acme", &person.bearer, person.subject)
            .await;
        let linked =
            idp::exchange_with(origin, "/social/link", &flow, &code, Some(&person.bearer)).await;
        assert!(linked.status.is_success(), "{:?}", linked.body);
        person
    }

    fn keep(&mut self, tokens: &Reply) {
        tokens.text("access_token").clone_into(&mut self.bearer);
        tokens.text("refresh_token").clone_into(&mut self.refresh);
        tokens.text("device_token").clone_into(&mut self.device);
    }

    pub(crate) async fn enter(&self, origin: &Origin) -> Reply {
        let body = json!({"identifier": self.email, "password": self.password});
        origin.post("/login", body).await
    }

    /// A login's first step on the device where they logged in before.
    async fn first_step_on_device(&self, origin: &Origin) -> String {
        let body = json!({
            "identifier": self.email, "password": self.password, "device_token": self.device,
        });
        let asked = origin.post("/login", body).await.expect(200, "");
        asked.text("mfa_token").to_owned()
    }

    async fn first_step(&self, origin: &Origin) -> String {
        let asked = self.enter(origin).await.expect(200, "");
        asked.text("mfa_token").to_owned()
    }

    /// Adds every second factor, and logs in with two.
    async fn add_factors(&mut self, origin: &Origin) {
        let (app, recovery) = enrol(origin, &self.bearer).await;
        let token = self.first_step(origin).await;
        let code = app.code(origin, 0);
        let tokens = second_step(origin, &token, "totp", &code).await;
        self.keep(&tokens.expect(200, ""));
        for route in ["/mfa/email", "/mfa/sms"] {
            call(origin, PUT, route, &self.bearer, None)
                .await
                .expect(200, "");
        }
        let begun = call(origin, POST, "/passkeys/registration", &self.bearer, None).await;
        let credential = self.passkey.create(&begun.body["options"]);
        let token = &begun.body["passkey_token"];
        let body = json!({"passkey_token": token, "credential": credential, "name": "key"});
        call(origin, POST, "/passkeys", &self.bearer, Some(body))
            .await
            .expect(200, "");
        origin.advance(30);
        (self.app, self.recovery) = (Some(app), recovery);
    }
}

/// A request that proves something: for which step, and by what.
#[derive(Clone)]
pub(crate) struct Attempt {
    method: Method,
    route: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) step: Value,
    pub(crate) proof: Value,
}

impl Attempt {
    pub(crate) fn new(route: &str, step: Value, proof: Value) -> Self {
        Self {
            method: POST,
            route: route.to_owned(),
            headers: Vec::new(),
            step,
            proof,
        }
    }

    pub(crate) fn within(mut self, bearer: &str) -> Self {
        let bearer = format!("Bearer {bearer}");
        self.headers.push(("authorization", bearer));
        self
    }

    pub(crate) async fn send(mut self, origin: &Origin) -> Reply {
        let members = self.step.as_object_mut().unwrap();
        members.extend(self.proof.as_object().unwrap().clone());
        let headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        let path = person::auth(&self.route);
        // What only asks for something has no body.
        let body = (self.step != json!({})).then_some(self.step);
        idp::send(origin, self.method, &path, &headers, body).await
    }
}

/// What somebody does in a session without proving anything more.
async fn act(origin: &Origin, person: &Person, door: Door) -> (Method, String) {
    let id_of = async |route: &str, list: &str, which: &str| {
        let reply = call(origin, Method::GET, route, &person.bearer, None).await;
        let list = reply.body[list].as_array().unwrap().clone();
        let one = list.into_iter().find(|one| one.to_string().contains(which));
        format!("{route}/{}", one.unwrap()["id"].as_str().unwrap())
    };
    let (method, route) = match door {
        LogOut => (POST, "/logout"),
        Leave => (POST, "/account/deactivate"),
        Erase => (DELETE, "/account"),
        NewApp => (POST, "/mfa/totp"),
        NewCodes => (POST, "/mfa/recovery-codes"),
        RemoveApp => (DELETE, "/mfa/totp"),
        RemoveMail => (DELETE, "/mfa/email"),
        RemoveSms => (DELETE, "/mfa/sms"),
        RemoveAddress => return (DELETE, id_of("/contacts", "contacts", person.phone).await),
        RemovePasskey => return (DELETE, id_of("/passkeys", "passkeys", "key").await),
        Unlink => {
            let route = "/social/identities";
            return (DELETE, id_of(route, "identities", "acme").await);
        }
        _ => panic!("{door:?} asks for a proof"),
    };
    (method, route.to_owned())
}

pub(crate) struct Scene {
    pub(crate) origin: Origin,
    idp: Idp,
    pub(crate) people: Vec<Person>,
}

impl Scene {
    pub(crate) async fn new(how_many: usize, with_factors: bool) -> Self {
        let idp = Idp::start().await;
        let origin = Origin::with(|config| {
            config.notify.sms = Channel::Memory;
            config.server.public_url = Some("https://id.example.org".to_owned());
            config.otp.sends_per_hour = 1_000;
            idp::add(config, "acme", &idp.issuer);
        })
        .await;
        let mut people = Vec::new();
        for who in 0..how_many {
            let mut person = Person::new((&origin, &idp), who).await;
            if with_factors {
                person.add_factors(&origin).await;
            }
            people.push(person);
        }
        Self {
            origin,
            idp,
            people,
        }
    }

    /// What the person needs at the door, up to the request that shows it.
    pub(crate) async fn begin(&mut self, door: Door, who: usize) -> Attempt {
        let (origin, person) = (&self.origin, &mut self.people[who]);
        let app = person.app.as_ref().map(|app| app.code(origin, 0));
        let recovery = person.recovery.first().cloned();
        match door {
            Password | MailCode | SmsCode | TrustedMailCode | TrustedSmsCode | Provider
            | Passkey => self.first(door, who).await,
            SecondApp | SecondRecovery | SecondMail | SecondSms | TrustedSecondMail
            | TrustedSecondSms | SecondPasskey => self.second(door, who).await,
            ProofPassword => Attempt::new(
                "/reauthenticate",
                json!({"method": "password"}),
                json!({"password": person.password}),
            )
            .within(&person.bearer),
            ProofApp | ProofRecovery => {
                let (method, code) = match door {
                    ProofApp => ("totp", app),
                    _ => ("recovery_code", recovery),
                };
                let step = json!({ "method": method });
                Attempt::new("/reauthenticate", step, json!({ "code": code }))
                    .within(&person.bearer)
            }
            ProofMail | ProofSms => {
                let (method, to) = match door {
                    ProofMail => ("email", person.email),
                    _ => ("sms", person.phone),
                };
                let route = "/reauthenticate/code";
                let body = Some(json!({ "method": method }));
                let sent = call(origin, POST, route, &person.bearer, body).await;
                let token = sent.expect(200, "").body["otp_token"].clone();
                let step = json!({"method": method, "otp_token": token});
                let proof = json!({"code": origin.code(to)});
                Attempt::new("/reauthenticate", step, proof).within(&person.bearer)
            }
            ProofPasskey => {
                let route = "/reauthenticate/passkey";
                let begun = call(origin, POST, route, &person.bearer, None).await;
                let begun = begun.expect(200, "").body;
                let step = json!({"method": "passkey", "passkey_token": begun["passkey_token"]});
                let credential = person.passkey.get(&begun["options"]);
                Attempt::new("/reauthenticate", step, json!({ "credential": credential }))
                    .within(&person.bearer)
            }
            Registration => {
                let email = ["new@example.org", "other@example.org"][who];
                let body = json!({"email": email, "password": NEW_PASSWORD});
                origin.post("/register", body).await.expect(202, "");
                let proof = json!({"code": origin.code(email)});
                Attempt::new("/register/verify", json!({ "email": email }), proof)
            }
            BoundRegistration => {
                let email = ["new@example.org", "other@example.org"][who];
                let body = json!({"email": email, "password": NEW_PASSWORD});
                let begun = origin.post("/register", body).await.expect(202, "");
                let token = begun.headers["x-registration-token"].to_str().unwrap();
                let proof = json!({"code": origin.code(email)});
                let step = json!({ "registration_token": token });
                Attempt::new("/register/verify", step, proof)
            }
            Reset => {
                let body = json!({"identifier": person.email});
                origin.post("/forgot-password", body).await.expect(202, "");
                let proof = json!({"token": origin.code(person.email)});
                Attempt::new("/reset-password", json!({"password": NEW_PASSWORD}), proof)
            }
            Change => Attempt::new(
                "/change-password",
                json!({"new_password": NEW_PASSWORD}),
                json!({"current_password": person.password}),
            )
            .within(&person.bearer),
            Address => {
                let email = ["alice@example.net", "bob@example.net"][who];
                let body = Some(json!({ "email": email }));
                let begun = call(origin, POST, "/contacts", &person.bearer, body).await;
                let step = json!({"contact_token": begun.expect(202, "").body["contact_token"]});
                let proof = json!({"code": origin.code(email)});
                Attempt::new("/contacts/verify", step, proof).within(&person.bearer)
            }
            Refresh => {
                let proof = json!({"refresh_token": person.refresh});
                Attempt::new("/refresh", json!({}), proof)
            }
            _ => {
                let (method, route) = act(origin, person, door).await;
                let mut attempt = Attempt::new(&route, json!({}), json!({}));
                attempt.method = method;
                attempt.within(&person.bearer)
            }
        }
    }

    async fn first(&mut self, door: Door, who: usize) -> Attempt {
        let (origin, idp, person) = (&self.origin, &self.idp, &mut self.people[who]);
        match door {
            Password => Attempt::new(
                "/login",
                json!({"identifier": person.email}),
                json!({"password": person.password}),
            ),
            MailCode | SmsCode | TrustedMailCode | TrustedSmsCode => {
                let (mut body, to) = match door {
                    MailCode | TrustedMailCode => (json!({"email": person.email}), person.email),
                    _ => (json!({"phone_number": person.phone}), person.phone),
                };
                let mut step = json!({});
                if matches!(door, TrustedMailCode | TrustedSmsCode) {
                    body["device_token"] = json!(person.device);
                    step["device_token"] = json!(person.device);
                }
                let sent = origin.post("/otp/send", body).await.expect(200, "");
                step["otp_token"] = sent.body["otp_token"].clone();
                Attempt::new("/otp/verify", step, json!({"code": origin.code(to)}))
            }
            Provider => {
                let flow = idp::start(origin, "acme").await;
                let landed = idp.log_in(origin, &flow, person.subject, json!({})).await;
                let proof = json!({"code": idp::returned(&landed, "code")});
                let mut attempt = Attempt::new("/social/exchange", json!({}), proof);
                attempt.headers.push(("cookie", flow.cookie.unwrap()));
                attempt
            }
            _ => {
                let begun = origin.post("/login/passkey/begin", json!({})).await;
                let step = json!({"passkey_token": begun.body["passkey_token"]});
                let credential = person.passkey.get(&begun.body["options"]);
                Attempt::new("/login/passkey", step, json!({ "credential": credential }))
            }
        }
    }

    async fn second(&mut self, door: Door, who: usize) -> Attempt {
        let (origin, person) = (&self.origin, &mut self.people[who]);
        let token = match door {
            TrustedSecondMail | TrustedSecondSms => person.first_step_on_device(origin).await,
            _ => person.first_step(origin).await,
        };
        let method = match door {
            SecondApp => "totp",
            SecondRecovery => "recovery_code",
            SecondMail | TrustedSecondMail => "email",
            SecondSms | TrustedSecondSms => "sms",
            _ => "passkey",
        };
        let mut step = json!({"mfa_token": token, "method": method});
        let proof = match door {
            SecondApp => json!({"code": person.app.as_ref().unwrap().code(origin, 0)}),
            SecondRecovery => json!({"code": person.recovery[0]}),
            SecondMail | SecondSms | TrustedSecondMail | TrustedSecondSms => {
                origin
                    .post("/login/mfa/send", step.clone())
                    .await
                    .expect(200, "");
                let to = [person.email, person.phone][usize::from(method == "sms")];
                json!({"code": origin.code(to)})
            }
            _ => {
                let body = json!({ "mfa_token": token });
                let begun = origin.post("/login/mfa/passkey", body).await;
                let begun = begun.expect(200, "").body;
                step["passkey_token"] = begun["passkey_token"].clone();
                json!({"credential": person.passkey.get(&begun["options"])})
            }
        };
        Attempt::new("/login/mfa", step, proof)
    }

    /// A proof of the same shape that proves nothing.
    pub(crate) fn wrong(&self, right: &Value) -> Value {
        let mut proof = right.clone();
        let challenge = json!({"publicKey": {"challenge": "AAAA"}});
        for (name, value) in proof.as_object_mut().unwrap() {
            *value = match (name.as_str(), value.as_str()) {
                ("credential", _) => Authenticator::new(99).get(&challenge),
                ("code", Some(code)) if code.len() == 6 => {
                    let app = self.people[0].app.as_ref();
                    let now = app.map(|app| (-1..=1).map(|step| app.code(&self.origin, step)));
                    let good: Vec<String> = now.into_iter().flatten().collect();
                    let mut other = (0..).map(|n| format!("{n:06}"));
                    json!(other.find(|other| other != code && !good.contains(other)))
                }
                // Another character at the end, or before a checksum's would be.
                (_, Some(text)) => {
                    let at = text.len() / 2;
                    let other = if text.as_bytes()[at] == b'A' {
                        "B"
                    } else {
                        "A"
                    };
                    json!(format!("{}{other}{}", &text[..at], &text[at + 1..]))
                }
                (_, None) => panic!("{value}"),
            };
        }
        proof
    }
}
