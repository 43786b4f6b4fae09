//! SMS through Twilio's and Amazon's interfaces, with real servers at the other end.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod provider;
mod sent;
mod support;

use std::fmt::Write as _;

use edgekeep_origin::config::{Channel, Config, Environment, Sns, Twilio};
use edgekeep_origin::metrics::Delivery;
use edgekeep_origin::vault::Secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use provider::{Answer, Call, PATIENCE, Provider, counted, message};
use sent::logged;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use support::Origin;

async fn origin(channel: Channel) -> Origin {
    Origin::with(|config| {
        config.notify.email = Channel::Off;
        config.notify.sms = channel;
        config.sms.defend = Some(false);
    })
    .await
}

fn twilio(provider: &Provider) -> Twilio {
    Twilio {
        account_sid: "AC0123456789".to_owned(),
        auth_token: Some(Secret::new("tw-auth-s3cret".to_owned())),
        api_key: None,
        api_secret: None,
        from: Some("+15005550006".to_owned()),
        messaging_service_sid: None,
        base_url: provider.base.clone(),
    }
}

fn taken() -> Answer {
    let body = json!({"sid": "SM1", "status": "queued", "error_code": null, "error_message": null});
    Answer::Says(201, &[], body.to_string())
}

#[tokio::test]
async fn twilio_gets_a_message_as_its_interface_wants_it() {
    logged::start();
    let provider = Provider::then(&[], taken()).await;
    let origin = origin(Channel::Twilio(twilio(&provider))).await;
    let body = json!({"phone_number": "+41791234567"});
    let answer = origin.post("/otp/send", body).await.expect(200, "");
    let call = provider.wait_for(1).await.remove(0);
    assert_eq!(
        (call.method.as_str(), call.path.as_str()),
        ("POST", "/2010-04-01/Accounts/AC0123456789/Messages.json")
    );
    // base64 of AC0123456789:tw-auth-s3cret
    assert_eq!(
        call.header("authorization"),
        "Basic QUMwMTIzNDU2Nzg5OnR3LWF1dGgtczNjcmV0"
    );
    let fields = call.form();
    assert_eq!(fields["To"], "+41791234567");
    assert_eq!(fields["From"], "+15005550006");
    // It is of no use to anybody once the code has expired.
    assert_eq!(fields["ValidityPeriod"], "300");
    assert_eq!(fields.len(), 4);
    let code = fields["Body"].get(..6).unwrap();
    let body = json!({"otp_token": answer.text("otp_token"), "code": code});
    origin.post("/otp/verify", body).await.expect(200, "");
    logged::holds_none(&["41791234567", code, "tw-auth-s3cret", "QUMwMTIz"]);
}

#[tokio::test]
async fn twilio_takes_a_key_and_a_messaging_service_instead() {
    let provider = Provider::then(&[], taken()).await;
    let origin = origin(Channel::Twilio(Twilio {
        auth_token: None,
        api_key: Some("SK1".to_owned()),
        api_secret: Some(Secret::new("key-s3cret".to_owned())),
        from: None,
        messaging_service_sid: Some("MG1".to_owned()),
        ..twilio(&provider)
    }))
    .await;
    origin.state.mailer.send(message("+41791234568", "a & b"));
    let call = provider.wait_for(1).await.remove(0);
    // base64 of SK1:key-s3cret
    assert_eq!(call.header("authorization"), "Basic U0sxOmtleS1zM2NyZXQ=");
    let fields = call.form();
    assert_eq!(fields["MessagingServiceSid"], "MG1");
    assert_eq!(fields["Body"], "a & b");
    assert_eq!(fields.len(), 3);
}

#[tokio::test]
async fn twilio_is_asked_again_only_where_that_may_help() {
    logged::start();
    let refused = |status, code| {
        // Its texts quote the number.
        let text = "The 'To' number +41791234569 is not a valid phone number.";
        let body = json!({"code": code, "message": text, "status": status});
        Answer::Says(status, &[("retry-after", "0")], body.to_string())
    };
    let failed = json!({"sid": "SM1", "status": "failed", "error_code": 30_007}).to_string();
    let undelivered = json!({"sid": "SM1", "status": "undelivered"}).to_string();
    let page = "<html>captive portal</html>".to_owned();
    for (answer, calls, outcome, said) in [
        (refused(429, 20_429), 2, Delivery::sent, "error 20429"),
        (refused(503, 20_503), 2, Delivery::sent, "error 20503"),
        (
            Answer::Says(500, &[], page.clone()),
            2,
            Delivery::sent,
            "answered 500",
        ),
        (refused(400, 21_211), 1, Delivery::failed, "error 21211"),
        (refused(401, 20_003), 1, Delivery::failed, "error 20003"),
        (
            Answer::Says(201, &[], failed),
            1,
            Delivery::failed,
            "error 30007",
        ),
        (
            Answer::Says(201, &[], undelivered),
            1,
            Delivery::failed,
            "took it and failed",
        ),
        (
            Answer::Says(200, &[], page),
            1,
            Delivery::failed,
            "something else than JSON",
        ),
        (Answer::Redirect, 1, Delivery::failed, "answered 307"),
    ] {
        let provider = Provider::then(std::slice::from_ref(&answer), taken()).await;
        let origin = origin(Channel::Twilio(twilio(&provider))).await;
        let mailer = &origin.state.mailer;
        mailer.send(message("+41791234569", "text 5-7721"));
        mailer.drain(PATIENCE).await;
        assert_eq!(provider.calls().len(), calls, "{answer:?}");
        assert_eq!(counted(mailer, outcome), 1, "{answer:?}");
        logged::holds(said);
    }
    logged::holds_none(&["41791234569", "5-7721", "tw-auth-s3cret"]);
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_it() {
    let endless = Answer::Says(201, &[], " ".repeat(4 << 20));
    let provider = Provider::then(&[], endless).await;
    let origin = origin(Channel::Twilio(twilio(&provider))).await;
    let mailer = &origin.state.mailer;
    mailer.send(message("+41791234570", "text"));
    mailer.drain(PATIENCE).await;
    assert_eq!(counted(mailer, Delivery::failed), 1);
}

fn sns(provider: &Provider) -> Sns {
    Sns {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: Some(Secret::new(
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
        )),
        session_token: None,
        region: "eu-central-1".to_owned(),
        endpoint: Some(provider.base.clone()),
        sender_id: None,
    }
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The `Authorization` that a request must have (Signature Version 4), made from the request as it
/// arrived: the signed headers are the ones that it names itself.
fn signed(call: &Call, secret: &str, region: &str) -> String {
    let given = call.header("authorization");
    let part = |name: &str| {
        let (_, rest) = given.split_once(name).unwrap();
        rest.split(',').next().unwrap()
    };
    let names = part("SignedHeaders=");
    let mut headers = String::new();
    for name in names.split(';') {
        let _ = writeln!(headers, "{name}:{}", call.header(name).trim());
    }
    let canonical = format!(
        "{}\n{}\n\n{headers}\n{names}\n{}",
        call.method,
        call.path,
        hex(&Sha256::digest(&call.body))
    );
    let at = call.header("x-amz-date");
    let scope = format!("{}/{region}/sns/aws4_request", &at[..8]);
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{at}\n{scope}\n{}",
        hex(&Sha256::digest(canonical))
    );
    let mut key = format!("AWS4{secret}").into_bytes();
    for step in scope.split('/') {
        key = hmac(&key, step);
    }
    let signature = hex(&hmac(&key, &to_sign));
    format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope}, SignedHeaders={names}, \
         Signature={signature}"
    )
}

#[tokio::test]
async fn amazon_gets_a_signed_message() {
    logged::start();
    let provider = Provider::then(&[], Answer::Status(200)).await;
    let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    for (token, sender_id) in [(None, None), (Some("t0ken-s3cret=="), Some("Edgekeep"))] {
        let origin = origin(Channel::Sns(Sns {
            session_token: token.map(|token| Secret::new(token.to_owned())),
            sender_id: sender_id.map(str::to_owned),
            ..sns(&provider)
        }))
        .await;
        origin
            .state
            .mailer
            .send(message("+41791234571", "Zoë's code: 1 + 1 = ~2*"));
        origin.state.mailer.drain(PATIENCE).await;
        let call = provider.calls().pop().unwrap();
        assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/"));
        assert_eq!(call.header("x-amz-date"), "20260101T000000Z");
        assert_eq!(
            call.header("authorization"),
            signed(&call, secret, "eu-central-1")
        );
        for header in ["host", "content-type", "x-amz-date"] {
            assert!(call.header("authorization").contains(header), "{header}");
        }
        assert_eq!(
            call.headers
                .get("x-amz-security-token")
                .map(|it| it.to_str().unwrap()),
            token
        );
        let fields = call.form();
        assert_eq!(fields["Action"], "Publish");
        assert_eq!(fields["PhoneNumber"], "+41791234571");
        assert_eq!(fields["Message"], "Zoë's code: 1 + 1 = ~2*");
        let attribute = |number: u32, part: &str| {
            let name = format!("MessageAttributes.entry.{number}.{part}");
            fields.get(&name).map(String::as_str)
        };
        assert_eq!(attribute(1, "Name"), Some("AWS.SNS.SMS.SMSType"));
        assert_eq!(attribute(1, "Value.StringValue"), Some("Transactional"));
        assert_eq!(attribute(1, "Value.DataType"), Some("String"));
        assert_eq!(attribute(2, "Value.StringValue"), sender_id);
    }
    logged::holds_none(&["41791234571", "wJalrXUtnFEMI", "t0ken-s3cret"]);
}

#[tokio::test]
async fn amazon_is_asked_again_only_where_that_may_help() {
    logged::start();
    let refused = |status, code: &str| {
        let body = format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code>\
             <Message>Invalid parameter: PhoneNumber +41791234572</Message></Error></ErrorResponse>"
        );
        Answer::Says(status, &[], body)
    };
    for (answer, calls, outcome, said) in [
        (
            refused(400, "Throttling"),
            2,
            Delivery::sent,
            "400 Bad Request, Throttling",
        ),
        (
            refused(500, "InternalError"),
            2,
            Delivery::sent,
            "InternalError",
        ),
        (
            refused(503, "ServiceUnavailable"),
            2,
            Delivery::sent,
            "ServiceUnavailable",
        ),
        (
            refused(400, "InvalidParameter"),
            1,
            Delivery::failed,
            "InvalidParameter",
        ),
        (
            refused(403, "SignatureDoesNotMatch"),
            1,
            Delivery::failed,
            "SignatureDoesNotMatch",
        ),
        (
            refused(400, "+41791234572"),
            1,
            Delivery::failed,
            "answered 400",
        ),
        (Answer::Redirect, 1, Delivery::failed, "answered 307"),
    ] {
        let provider = Provider::then(std::slice::from_ref(&answer), Answer::Status(200)).await;
        let origin = origin(Channel::Sns(sns(&provider))).await;
        let mailer = &origin.state.mailer;
        mailer.send(message("+41791234572", "text 1-4142"));
        mailer.drain(PATIENCE).await;
        assert_eq!(provider.calls().len(), calls, "{answer:?}");
        assert_eq!(counted(mailer, outcome), 1, "{answer:?}");
        logged::holds(said);
    }
    logged::holds_none(&["41791234572", "1-4142", "wJalrXUtnFEMI"]);
}

/// What would send codes or credentials in the clear, or to nowhere, stops the start.
#[test]
fn settings_that_cannot_be_are_refused() {
    let read = |text: &str| {
        Config::parse("test.toml".as_ref(), text, &Environment::new())
            .map(drop)
            .map_err(|error| error.to_string())
    };
    let secret = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let twilio =
        |more: &str| format!("[notify.sms]\nkind = \"twilio\"\naccount_sid = \"AC1\"\n{more}");
    let sns = |more: &str| format!("[notify.sms]\nkind = \"sns\"\naccess_key_id = \"A\"\n{more}");
    for good in [
        "[notify.sms]\nkind = \"http\"\nurl = \"https://sms.example/\"".to_owned(),
        "[notify.sms]\nkind = \"http\"\nurl = \"http://localhost:1/\"".to_owned(),
        "[notify.sms]\nkind = \"http\"\nurl = \"http://[::1]:1/\"".to_owned(),
        format!("[notify.sms]\nkind = \"http\"\nurl = \"https://a.example\"\nsecret = \"whsec_{secret}\""),
        twilio("auth_token = \"t\"\nfrom = \"+1\""),
        twilio("api_key = \"SK\"\napi_secret = \"s\"\nmessaging_service_sid = \"MG\""),
        sns("secret_access_key = \"s\"\nregion = \"eu-central-1\""),
        "[notify.email]\nkind = \"smtp\"\nhost = \"127.0.0.1\"\ntls = \"none\"\nfrom = \"a@b.c\"".to_owned(),
        "mode = \"production\"\n[server]\npublic_url = \"https://a.example\"\n[notify.email]\nkind = \"off\"\n\
         [notify.sms]\nkind = \"http\"\nurl = \"https://a.example\"\n[sms]\ncountries = [\"CH\", \"+49\"]".to_owned(),
    ] {
        assert_eq!(read(&good), Ok(()), "{good}");
    }
    for (bad, said) in [
        ("[notify.sms]\nkind = \"http\"\nurl = \"http://sms.example/\"".to_owned(), "https"),
        ("[notify.sms]\nkind = \"http\"\nurl = \"http://127.0.0.1.example/\"".to_owned(), "https"),
        ("[notify.sms]\nkind = \"http\"\nurl = \"http://localhost@sms.example/\"".to_owned(), "https"),
        ("[notify.sms]\nkind = \"http\"\nurl = \"ftp://localhost/\"".to_owned(), "https"),
        ("[notify.sms]\nkind = \"http\"\nurl = \"https://a.example\"\nsecret = \"short\"".to_owned(), "24 to 64"),
        ("[notify.sms]\nkind = \"smtp\"\nhost = \"localhost\"\nfrom = \"a@b.c\"".to_owned(), "twilio"),
        ("[notify.email]\nkind = \"smtp\"\nhost = \"mail.example\"\ntls = \"none\"\nfrom = \"a@b.c\"".to_owned(), "tls"),
        ("[notify.email]\nkind = \"twilio\"\naccount_sid = \"AC1\"\nauth_token = \"t\"\nfrom = \"+1\"".to_owned(), "notify.email"),
        (twilio("auth_token = \"t\""), "from"),
        (twilio("from = \"+1\""), "auth_token"),
        (twilio("from = \"+1\"\nauth_token = \"t\"\napi_key = \"k\"\napi_secret = \"s\""), "either"),
        (twilio("from = \"+1\"\nauth_token = \"t\"\nmessaging_service_sid = \"MG\""), "either"),
        (twilio("auth_token = \"t\"\nfrom = \"+1\"\nbase_url = \"http://api.example\""), "base_url"),
        ("[notify.sms]\nkind = \"twilio\"\naccount_sid = \"../x\"\nauth_token = \"t\"\nfrom = \"+1\"".to_owned(), "account_sid"),
        (sns("region = \"eu-central-1\""), "secret_access_key"),
        (sns("secret_access_key = \"s\""), "region"),
        (sns("secret_access_key = \"s\"\nregion = \"evil.example/\""), "region"),
        (sns("secret_access_key = \"s\"\nregion = \"r\"\nendpoint = \"http://sns.example\""), "endpoint"),
        ("[sms]\ncountries = [\"Switzerland\"]".to_owned(), "sms.countries"),
        ("[sms]\ncountries = [\"ch\"]".to_owned(), "sms.countries"),
        ("[sms]\nnumber_types = [\"landline\"]".to_owned(), "number_types"),
        ("[sms.prices]\n\"+41\" = 7".to_owned(), "sms.prices"),
        ("[sms.conversion]\npercent = 0".to_owned(), "sms.conversion.percent"),
        // A provider in production without a list of countries: it would send none, or all.
        ("mode = \"production\"\n[server]\npublic_url = \"https://a.example\"\n[notify.email]\nkind = \"off\"\n\
          [notify.sms]\nkind = \"http\"\nurl = \"https://a.example\"".to_owned(), "sms.countries"),
    ] {
        let refusal = read(&bad).unwrap_err();
        assert!(refusal.contains(said), "{bad}: {refusal}");
    }
}
