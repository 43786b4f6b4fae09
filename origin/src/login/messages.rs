//! What mail and SMS say. Links begin with the configured URL, never with one from a request.

use crate::accounts::Kind;
use crate::notify::Message;
use crate::vault::Secret;

fn message(
    kind: Kind,
    to: &str,
    subject: &'static str,
    text: String,
    code: Option<&Secret>,
) -> Option<Message> {
    use crate::notify::Medium;
    let channel = kind.medium()?;
    Some(Message {
        channel,
        to: to.to_owned(),
        subject: (channel == Medium::Email).then_some(subject),
        text,
        code: code.map(|code| code.expose().to_owned()),
        asked_by: None,
        good_until: None,
    })
}

/// The code that completes a registration.
pub fn registration_code(kind: Kind, to: &str, code: &Secret) -> Option<Message> {
    let text = format!(
        "{} is your code to complete the registration. \
         If you did not ask for it, ignore this message and give the code to nobody.",
        code.expose()
    );
    message(kind, to, "Your registration code", text, Some(code))
}

/// To the owner of an address that somebody tried to register again.
pub fn already_registered(kind: Kind, to: &str) -> Option<Message> {
    let text = "Somebody, perhaps you, tried to register with this address, which has an account \
                already. Log in, or ask for a new password. If it was not you, there is nothing \
                to do."
        .to_owned();
    message(kind, to, "You have an account already", text, None)
}

/// The code that shows that somebody reads what is sent there: a captcha, which proves nothing else.
pub fn captcha_code(kind: Kind, to: &str, code: &Secret) -> Option<Message> {
    let text = format!(
        "{} is your code to go on. It logs nobody in. \
         If you did not ask for it, ignore this message and give the code to nobody.",
        code.expose()
    );
    message(kind, to, "Your code to go on", text, Some(code))
}

/// The code that logs somebody in.
pub fn login_code(kind: Kind, to: &str, code: &Secret) -> Option<Message> {
    let text = format!(
        "{} is your code to log in. If you did not ask for it, give it to nobody.",
        code.expose()
    );
    message(kind, to, "Your login code", text, Some(code))
}

/// The link that sets a new password.
pub fn reset_link(kind: Kind, to: &str, page: &str, token: &Secret) -> Option<Message> {
    let text = format!(
        "Set a new password here: {page}?token={} . \
         If you did not ask for it, ignore this message.",
        token.expose()
    );
    message(kind, to, "Set a new password", text, Some(token))
}

/// After a password was changed.
pub fn password_changed(kind: Kind, to: &str) -> Option<Message> {
    let text = "Your password was changed and your other sessions were ended. \
                If it was not you, ask for a new password at once."
        .to_owned();
    message(kind, to, "Your password was changed", text, None)
}
