//! One login at a provider, from the click on a button to the tokens.

use std::time::Duration;

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use url::Url;

use super::Failure;
use super::facts::Facts;
use super::identities::{self, Person, View};
use super::provider::{Proofs, Provider, Returned};
use super::store::{self, NewFlow, Owner};
use crate::abuse::devices;
use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::events::{self, Actor, Event, Outcome};
use crate::login::conclude::{FirstFactor, LoggedIn, conclude};
use crate::request::Caller;
use crate::vault::{Purpose, Secret};

/// Time to log in at the provider (ASVS 6.5.5: at most ten minutes for an out-of-band proof).
pub(super) const LIFE: Duration = Duration::from_mins(10);

/// Time to ask the provider who came back: more than our own deadline for a request.
const ASKING: Duration = Duration::from_mins(1);

/// Time to exchange our code (RFC 6749 §4.1.2 wants such codes short-lived).
pub(super) const CODE_LIFE: Duration = Duration::from_mins(1);

/// How a login at another provider is recorded. RFC 8176 registers no word for it; this is the one
/// that directory services write. It is no factor to a gate: what the provider asked for is not
/// known here, and what it claims of that is not ours to vouch for. Two factors it makes with one that
/// was proved here.
pub(crate) const AMR: &str = "fed";

/// What whoever begins a flow asks for.
pub(super) struct Wish {
    /// One of `social.return_urls`; by a token one of `social.app_return_urls`.
    pub(super) return_url: Option<String>,
    pub(super) device_id: Option<String>,
    /// Bound by a token in the answer instead of a cookie.
    pub(super) by_token: bool,
    /// The person is to prove again who they are.
    pub(super) again: bool,
}

/// What the database keeps of a flow; sealed.
#[derive(Serialize, Deserialize)]
struct Kept {
    proofs: Proofs,
    return_url: Option<String>,
    device_id: Option<String>,
    again: bool,
}

/// A flow that has begun.
pub(super) struct Begun {
    pub(super) authorization_url: Url,
    /// Names the flow's cookie; no secret.
    pub(super) tag: String,
    /// The cookie's value, or the flow token.
    pub(super) binding: Secret,
}

/// A URL to return to is one of the configured ones, compared byte by byte: nothing is parsed, so
/// nothing can be parsed in two ways.
fn checked_return_url(state: &State, wish: &Wish) -> Result<(), Error> {
    let known = if wish.by_token {
        &state.config.social.app_return_urls
    } else {
        &state.config.social.return_urls
    };
    match &wish.return_url {
        Some(url) if !known.contains(url) => Err(Error::invalid(
            "return_url: expected one that is configured, to the letter.",
        )),
        _ => Ok(()),
    }
}

/// Begins a login, or with an owner a link.
pub(super) async fn begin(
    state: &State,
    provider: &Provider,
    owner: Option<Owner>,
    wish: Wish,
) -> Result<Begun, Error> {
    checked_return_url(state, &wish)?;
    if wish.again && !provider.says_when() {
        return Err(Error::invalid(
            "reauthenticate: this provider does not say when somebody logged in.",
        ));
    }
    let now = state.clock.now();
    let tag = URL_SAFE_NO_PAD.encode(state.random.bytes::<TAG_BYTES>());
    let proofs = Proofs::generate(&state.random);
    let flow_state = tagged(state, "", &tag);
    let binding = Secret::new(format!(
        "ekf_{}",
        URL_SAFE_NO_PAD.encode(state.random.bytes::<32>())
    ));
    let authorization_url = provider
        .authorization_url(now, &flow_state, &proofs, wish.again)
        .await?;
    let kept = Kept {
        proofs,
        return_url: wish.return_url,
        device_id: wish.device_id,
        again: wish.again,
    };
    let state_hash = hash(state, "state", &flow_state)?;
    let kept = seal(state, "kept", &state_hash, &kept)?;
    let flow = NewFlow {
        state_hash: &state_hash,
        provider: &provider.name,
        owner,
        binding: &hash(state, bound_by(wish.by_token), &binding)?,
        by_token: wish.by_token,
        kept: &kept,
        begun_at: now,
        expires_at: now + LIFE,
    };
    let mut tx = state.db.write().await?;
    store::begin(&mut tx, &flow).await?;
    tx.commit().await?;
    Ok(Begun {
        authorization_url,
        tag,
        binding,
    })
}

/// What the provider sent the browser back with.
pub(super) struct Answer {
    pub(super) state: Secret,
    /// The code, or the provider's error.
    pub(super) outcome: Result<Secret, String>,
    pub(super) issuer: Option<String>,
}

/// Where a browser that came back goes on to.
pub(super) struct Landing {
    pub(super) return_url: Option<String>,
    /// Our code for the exchange, or why there is none.
    pub(super) outcome: Result<Secret, Failure>,
    pub(super) tag: String,
}

/// Takes the provider's answer: consumes the state, and asks the provider who that was. What is
/// refused, by it or here, is in the trail; nobody is known by then whom it is about.
///
/// # Errors
/// [`Error::CodeInvalid`] for a state that is none, was used, is another provider's or another
/// browser's; [`Error::CodeExpired`].
pub(super) async fn land(
    state: &State,
    caller: &Caller,
    provider: &Provider,
    answer: &Answer,
    headers: &HeaderMap,
) -> Result<Landing, Error> {
    let outcome = accept(state, provider, answer, headers).await;
    let event = failure(caller);
    match &outcome {
        Ok(landing) => match landing.outcome {
            Err(Failure::Denied) => {
                events::refused(state, &event.because("access_denied")).await?;
            }
            Err(refusal @ Failure::Refused(_)) => {
                let word = Error::from(refusal).code().0;
                events::refused(state, &event.because(word)).await?;
            }
            // It has said nothing of anybody.
            Err(Failure::Unavailable(_)) | Ok(_) => {}
        },
        Err(_) => events::note_refusal(state, &outcome, event).await?,
    }
    outcome
}

/// A login at a provider that came to nothing.
const fn failure(caller: &Caller) -> Event<'_> {
    Event::new(events::Kind::Login, Outcome::Failure, Actor::Anonymous)
        .by("social")
        .from(caller)
}

async fn accept(
    state: &State,
    provider: &Provider,
    answer: &Answer,
    headers: &HeaderMap,
) -> Result<Landing, Error> {
    let now = state.clock.now();
    let unknown = || Error::CodeInvalid("no such state");
    let tag = tag_of(&answer.state, "").ok_or_else(unknown)?;
    let cookie = cookie(state, headers, tag).unwrap_or_else(|| Secret::new(String::new()));
    let binding = hash(state, bound_by(false), &cookie)?;
    let state_hash = hash(state, "state", &answer.state)?;
    let mut tx = state.db.write().await?;
    let consumed = store::consume_state(
        &mut tx,
        &state_hash,
        &provider.name,
        &binding,
        now,
        now + ASKING,
    )
    .await?;
    let Some(returned) = consumed else {
        let expired = store::state_expired(&mut tx, &state_hash, now).await?;
        tx.rollback().await?;
        return Err(if expired {
            Error::CodeExpired
        } else {
            unknown()
        });
    };
    tx.commit().await?;
    let kept: Kept = open(state, "kept", &state_hash, &returned.kept)?;
    let identified = identify(state, provider, answer, &kept, &returned).await;
    let mut tx = state.db.write().await?;
    let outcome = match identified {
        Ok(facts) => {
            let code = tagged(state, CODE_PREFIX, tag);
            let person = person(provider, facts);
            let sealed = seal(state, "facts", &state_hash, &person)?;
            let code_hash = hash(state, "code", &code)?;
            let until = state.clock.now() + CODE_LIFE;
            if !store::finish(&mut tx, &state_hash, &code_hash, &sealed, until).await? {
                return Err(Error::CodeExpired);
            }
            Ok(code)
        }
        Err(failure) => {
            store::abandon(&mut tx, &state_hash).await?;
            Err(failure)
        }
    };
    tx.commit().await?;
    Ok(Landing {
        return_url: kept.return_url,
        outcome,
        tag: tag.to_owned(),
    })
}

async fn identify(
    state: &State,
    provider: &Provider,
    answer: &Answer,
    kept: &Kept,
    returned: &store::Returned,
) -> Result<Facts, Failure> {
    let now = state.clock.now();
    let issuer = answer.issuer.as_deref();
    provider.check_issuer(now, issuer).await?;
    let code = match &answer.outcome {
        Ok(code) => code,
        Err(error) if error == "access_denied" => return Err(Failure::Denied),
        Err(_) => return Err(Failure::Refused("the provider answered with an error")),
    };
    let returned = Returned {
        code,
        proofs: &kept.proofs,
        begun_at: returned.begun_at,
        again: kept.again,
    };
    provider.identify(now, &returned).await
}

/// What is kept of a person: the address only where it counts as proved.
fn person(provider: &Provider, facts: Facts) -> Person {
    let trusted = provider.settings.trust_email;
    Person {
        email: facts
            .verified_email()
            .filter(|_| trusted)
            .map(str::to_owned),
        label: facts.email.or(facts.name.clone()),
        authenticated_at: facts.authenticated_at,
        name: facts.name,
        subject: facts.subject,
    }
}

/// Exchanges a code for tokens.
///
/// # Errors
/// [`Error::CodeInvalid`]; [`Error::Conflict`] when the address has an account; [`Error::IdentityRefused`].
pub(super) async fn exchange(
    state: &State,
    caller: &Caller,
    code: &Secret,
    flow_token: Option<&Secret>,
    device_token: Option<Secret>,
    headers: &HeaderMap,
) -> Result<(LoggedIn, String), Error> {
    let mut tx = state.db.write().await?;
    let taken = take(state, &mut tx, None, code, flow_token, headers).await;
    let taken = match taken {
        Ok(taken) => taken,
        refused => {
            // The wrong browser, or a code that is none or was used.
            tx.rollback().await?;
            events::note_refusal(state, &refused, failure(caller)).await?;
            return Err(refused.err().unwrap_or(Error::CodeInvalid("no code taken")));
        }
    };
    let Taken {
        provider,
        kept,
        person,
        tag,
    } = taken;
    // A lock of the password holds nobody up here: what is guessed at the provider, it bounds.
    let user_id = match identities::resolve(state, &mut tx, provider, &person).await? {
        Ok(user_id) => user_id,
        Err(refusal) => {
            // The code is used up.
            tx.commit().await?;
            events::refused(state, &failure(caller).because(refusal.code().0)).await?;
            return Err(refusal);
        }
    };
    let known = devices::recognise(state, &mut tx, device_token, user_id).await?;
    // Whoever is logged in there already may be let in without proving anything: where the provider
    // says when they last did, that is when they did here.
    let proved_at = person
        .authenticated_at
        .map(|at| Timestamp::from_unix_seconds(at.max(0)));
    let first = FirstFactor {
        user_id,
        method: "social",
        amr: &[AMR],
        sent_to: None,
        caller,
        device_id: kept.device_id,
        device: known,
        proved_at,
        counted: None,
    };
    Ok((conclude(state, tx, first).await?, tag))
}

/// Exchanges a code for a link to the account of `owner`, who has asked for it in this session, and
/// ends their other sessions where they wish it; what is refused is in the trail.
///
/// # Errors
/// [`Error::CodeInvalid`]; [`Error::Conflict`] when the identity is another account's.
pub(super) async fn link(
    state: &State,
    caller: &Caller,
    (owner, end_other_sessions): (Owner, bool),
    code: &Secret,
    flow_token: Option<&Secret>,
    headers: &HeaderMap,
) -> Result<(View, String), Error> {
    let wish = (owner, end_other_sessions);
    let outcome = link_taken(state, wish, code, flow_token, headers).await;
    let event = Event::own(events::Kind::Identity, Outcome::Failure, owner.user_id)
        .session(owner.session_id)
        .by("social")
        .from(caller);
    if let Err(refusal @ Error::Conflict(_)) = &outcome {
        events::refused(state, &event.because(refusal.code().0)).await?;
    } else {
        events::note_refusal(state, &outcome, event).await?;
    }
    outcome
}

async fn link_taken(
    state: &State,
    (owner, end_other_sessions): (Owner, bool),
    code: &Secret,
    flow_token: Option<&Secret>,
    headers: &HeaderMap,
) -> Result<(View, String), Error> {
    let mut tx = state.db.write().await?;
    let taken = take(state, &mut tx, Some(owner), code, flow_token, headers).await?;
    let Taken {
        provider,
        person,
        tag,
        ..
    } = taken;
    let linked = identities::link(state, &mut tx, owner.user_id, provider, &person).await?;
    if linked.is_ok() && end_other_sessions {
        identities::end_other_sessions(state, &mut tx, owner).await?;
    }
    tx.commit().await?;
    let (view, notice) = linked?;
    state.mailer.deliver(notice);
    Ok((view, tag))
}

/// A code that was taken, and what it stands for.
struct Taken<'a> {
    provider: &'a Provider,
    kept: Kept,
    person: Person,
    tag: String,
}

async fn take<'a>(
    state: &'a State,
    connection: &mut AnyConnection,
    owner: Option<Owner>,
    code: &Secret,
    flow_token: Option<&Secret>,
    headers: &HeaderMap,
) -> Result<Taken<'a>, Error> {
    let unknown = || Error::CodeInvalid("no such code of a provider's login");
    let tag = tag_of(code, CODE_PREFIX).ok_or_else(unknown)?;
    let (by_token, secret) = match flow_token {
        Some(token) => (true, token.clone()),
        None => (false, cookie(state, headers, tag).ok_or_else(unknown)?),
    };
    let binding = hash(state, bound_by(by_token), &secret)?;
    let code_hash = hash(state, "code", code)?;
    let now = state.clock.now();
    let finished = store::exchange(connection, &code_hash, &binding, owner, now).await?;
    let Some(finished) = finished else {
        return Err(unknown());
    };
    let provider = state
        .social
        .provider(&finished.provider)
        .map_err(|_| Error::IdentityRefused("the provider is no longer configured"))?;
    Ok(Taken {
        provider,
        kept: open(state, "kept", &finished.state_hash, &finished.kept)?,
        person: open(state, "facts", &finished.state_hash, &finished.facts)?,
        tag: tag.to_owned(),
    })
}

/// Our codes, so that one in the wrong place can be recognised.
const CODE_PREFIX: &str = "eks_";

const TAG_BYTES: usize = 8;

/// 8 bytes in base64url.
const TAG_CHARACTERS: usize = 11;

/// A secret of 256 bits behind the tag of its flow.
fn tagged(state: &State, prefix: &str, tag: &str) -> Secret {
    let secret = URL_SAFE_NO_PAD.encode(state.random.bytes::<32>());
    Secret::new(format!("{prefix}{tag}.{secret}"))
}

fn tag_of<'s>(secret: &'s Secret, prefix: &str) -> Option<&'s str> {
    let (tag, _) = secret.expose().strip_prefix(prefix)?.split_once('.')?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (tag.len() == TAG_CHARACTERS && tag.bytes().all(plain)).then_some(tag)
}

/// The name of a flow's cookie: with the prefix that only this host can set, over TLS (RFC
/// 6265bis §4.1.3.2), or on loopback without.
pub(super) fn cookie_name(state: &State, tag: &str) -> String {
    if is_secure(state) {
        format!("__Host-edgekeep-flow-{tag}")
    } else {
        format!("edgekeep-flow-{tag}")
    }
}

/// Whether clients reach this server over TLS.
pub(super) fn is_secure(state: &State) -> bool {
    state.config.issuer().starts_with("https://")
}

/// The value of a flow's cookie. Two of one name are none: which of them is ours is not to be told.
fn cookie(state: &State, headers: &HeaderMap, tag: &str) -> Option<Secret> {
    let name = cookie_name(state, tag);
    let mut values = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| Secret::new(value.to_owned()));
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// A cookie and a flow token are different things, even if they were equal.
const fn bound_by(token: bool) -> &'static str {
    if token { "token" } else { "cookie" }
}

fn hash(state: &State, what: &str, secret: &Secret) -> Result<[u8; 32], Error> {
    let parts = [what.as_bytes(), secret.expose().as_bytes()];
    Ok(state.vault.mac(Purpose::Social, &parts)?)
}

/// Binds what is sealed to its flow and its column.
fn aad(column: &str, state_hash: &[u8]) -> Vec<u8> {
    [column.as_bytes(), b"\0", state_hash].concat()
}

fn seal<T: Serialize>(
    state: &State,
    column: &str,
    state_hash: &[u8],
    value: &T,
) -> Result<Vec<u8>, Error> {
    let json = serde_json::to_vec(value).map_err(|_| Error::internal("a flow as JSON"))?;
    Ok(state
        .vault
        .seal(Purpose::Social, &aad(column, state_hash), &json)?)
}

fn open<T: for<'de> Deserialize<'de>>(
    state: &State,
    column: &str,
    state_hash: &[u8],
    sealed: &[u8],
) -> Result<T, Error> {
    let json = state
        .vault
        .open(Purpose::Social, &aad(column, state_hash), sealed)?;
    serde_json::from_slice(&json).map_err(|_| Error::internal("a stored flow is not JSON"))
}
