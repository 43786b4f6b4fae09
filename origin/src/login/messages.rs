//! What mail and SMS say. Links begin with the configured URL, never with one from a request.

use std::time::{Duration, UNIX_EPOCH};

use crate::accounts::Kind;
use crate::clock::Timestamp;
use crate::notify::{Message, Sort};
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
        sort: code.map_or(Sort::Told, |_| Sort::Code),
        asked_by: None,
        good_until: None,
    })
}

/// The code that completes a registration, and the link that does so.
pub fn registration_code(
    kind: Kind,
    to: &str,
    code: &Secret,
    link: Option<&Secret>,
) -> Option<Message> {
    let text = format!(
        "{} is your code to complete the registration. {}\
         If you did not ask for it, ignore this message and give the code to nobody.",
        code.expose(),
        or_follow(link)
    );
    message(kind, to, "Your registration code", text, Some(code))
}

/// A link beside a code.
fn or_follow(link: Option<&Secret>) -> String {
    link.map_or_else(String::new, |link| {
        format!("Or open this link instead: {} . ", link.expose())
    })
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
        "Set a new password here: {page}#token={} . \
         If you did not ask for it, ignore this message.",
        token.expose()
    );
    let message = message(kind, to, "Set a new password", text, Some(token))?;
    Some(Message {
        sort: Sort::Link,
        ..message
    })
}

/// After a password was changed.
pub fn password_changed(kind: Kind, to: &str) -> Option<Message> {
    let text = "Your password was changed and your other sessions were ended. \
                If it was not you, ask for a new password at once."
        .to_owned();
    message(kind, to, "Your password was changed", text, None)
}

/// After its owner left an account, until the next login or, with `erase_at`, for good.
pub fn account_left(kind: Kind, to: &str, erase_at: Option<Timestamp>) -> Option<Message> {
    let text = match erase_at {
        None => format!(
            "Your account was deactivated and its sessions were ended. Logging in takes it back. \
             {NOT_YOU}"
        ),
        Some(at) => format!(
            "Your account was deleted, and its sessions were ended. Everything about you goes on {}. \
             Logging in before that keeps the account. {NOT_YOU}",
            date(at)
        ),
    };
    message(kind, to, "Your account was left", text, None)
}

/// After an account and everything about its owner went at once.
pub fn account_erased(kind: Kind, to: &str) -> Option<Message> {
    let text =
        "Your account was deleted, with everything about you. This is the last message.".to_owned();
    message(kind, to, "Your account was deleted", text, None)
}

/// After a login took back an account that its owner had left.
pub fn account_taken_back(kind: Kind, to: &str) -> Option<Message> {
    let text = format!("Somebody logged in to your account, which is active again. {NOT_YOU}");
    message(kind, to, "Your account is active again", text, None)
}

/// After a copy of everything about a person was taken.
pub fn account_exported(kind: Kind, to: &str) -> Option<Message> {
    let text = format!("A copy of your account's data was taken. {NOT_YOU}");
    message(kind, to, "A copy of your data was taken", text, None)
}

/// After an identity at another provider was linked to the account.
pub fn identity_linked(kind: Kind, to: &str, provider: &str) -> Option<Message> {
    let text = format!(
        "{provider} can now be used to log in to your account. If it was not you, remove it and \
         change your password at once."
    );
    message(kind, to, "A way to log in was added", text, None)
}

/// After such an identity was removed.
pub fn identity_removed(kind: Kind, to: &str, provider: &str) -> Option<Message> {
    let text = format!(
        "{provider} can no longer be used to log in to your account. If it was not you, change \
         your password at once."
    );
    message(kind, to, "A way to log in was removed", text, None)
}

/// After a login on a device that is new for its owner.
pub fn new_device(kind: Kind, to: &str, device: Option<&str>, at: Timestamp) -> Option<Message> {
    let device = device.unwrap_or("a device that does not say what it is");
    let text = format!(
        "Somebody logged in to your account on a new device: {device}, on {}. {NOT_YOU}",
        date(at)
    );
    message(kind, to, "A new device logged in", text, None)
}

/// After an account was used in two places between which nobody travels so fast.
pub fn impossible_travel(kind: Kind, to: &str, at: Timestamp) -> Option<Message> {
    let text = format!(
        "Your account was used in two places that are too far apart, the second time on {}. If you \
         use a VPN or just changed networks, there is nothing to do. {NOT_YOU}",
        date(at)
    );
    message(kind, to, "Your account was used in two places", text, None)
}

/// After a login to an account, or from a network, that many wrong passwords or codes were tried at.
pub fn login_among_failures(kind: Kind, to: &str, at: Timestamp) -> Option<Message> {
    let text = format!(
        "Somebody logged in to your account on {}, while many wrong passwords or codes were tried \
         at it, or from the same network. {NOT_YOU}",
        date(at)
    );
    message(kind, to, "A login among many failures", text, None)
}

/// After wrong passwords or codes from many networks.
pub fn many_failures(kind: Kind, to: &str, at: Timestamp) -> Option<Message> {
    let text = format!(
        "Wrong passwords or codes of your account were tried from many networks, the last on {}. None of \
         them was right. If you use the password elsewhere, set another one.",
        date(at)
    );
    let subject = "Somebody tries passwords of your account";
    let message = message(kind, to, subject, text, None)?;
    Some(Message {
        sort: Sort::Warned,
        ..message
    })
}

/// The code that completes a login.
pub fn second_factor_code(kind: Kind, to: &str, code: &Secret) -> Option<Message> {
    let text = format!(
        "{} is your code to complete the login. If you did not just log in, somebody else has \
         your password: change it, and give the code to nobody.",
        code.expose()
    );
    message(
        kind,
        to,
        "Your code to complete the login",
        text,
        Some(code),
    )
}

/// The code that proves within a session who somebody is.
pub fn reauthentication_code(kind: Kind, to: &str, code: &Secret) -> Option<Message> {
    let text = format!(
        "{} is your code to confirm that it is you. If you did not ask for it, somebody else is \
         logged in to your account: end your other sessions, change your password, and give the \
         code to nobody.",
        code.expose()
    );
    message(
        kind,
        to,
        "Your code to confirm that it is you",
        text,
        Some(code),
    )
}

/// After a second factor was added; `factor` is what people call it.
pub fn factor_added(kind: Kind, to: &str, factor: &str, at: Timestamp) -> Option<Message> {
    let text = format!(
        "A second factor was added to your account or replaced: {factor}, on {}. {NOT_YOU}",
        date(at)
    );
    message(kind, to, "A second factor was added", text, None)
}

/// After somebody chose a user name for the account, which is not said: others may read along.
pub fn username_chosen(kind: Kind, to: &str, at: Timestamp) -> Option<Message> {
    let text = format!(
        "A user name was chosen for your account on {}. {NOT_YOU}",
        date(at)
    );
    message(kind, to, "A user name was chosen", text, None)
}

/// After a second factor was removed.
pub fn factor_removed(kind: Kind, to: &str, factor: &str, at: Timestamp) -> Option<Message> {
    let text = format!(
        "A second factor was removed from your account: {factor}, on {}. {NOT_YOU}",
        date(at)
    );
    message(kind, to, "A second factor was removed", text, None)
}

/// After too many wrong codes of a second factor.
pub fn factor_off(kind: Kind, to: &str, factor: &str, at: Timestamp) -> Option<Message> {
    let text = format!(
        "Too many wrong codes were tried on your account, the last on {}: {factor} will not be \
         accepted until you log in with another second factor, for instance a recovery code. \
         Whoever tried them has your password or reads your messages: if it was not you, set a new \
         password at once.",
        date(at)
    );
    message(kind, to, "A second factor was turned off", text, None)
}

/// After a recovery code was used, with how many are left.
pub fn recovery_code_used(kind: Kind, to: &str, left: usize, at: Timestamp) -> Option<Message> {
    let text = format!(
        "A recovery code of your account was used on {}; {left} are left. Make new ones before \
         they run out. {NOT_YOU}",
        date(at)
    );
    message(kind, to, "A recovery code was used", text, None)
}

const NOT_YOU: &str = "If it was not you, set a new password at once, which ends every session, \
                       and look through your second factors.";

/// A date as people and mail programs read it, in GMT.
fn date(at: Timestamp) -> String {
    let seconds = u64::try_from(at.unix_seconds()).unwrap_or(0);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// The code that proves an address which is added to an account, and the link that does so.
pub fn contact_code(kind: Kind, to: &str, code: &Secret, link: Option<&Secret>) -> Option<Message> {
    let text = format!(
        "{} is your code to add this address to your account. {}\
         If you did not ask for it, ignore this message and give the code to nobody.",
        code.expose(),
        or_follow(link)
    );
    message(kind, to, "Your code to add this address", text, Some(code))
}

/// To the owner of an address that somebody tried to add to another account.
pub fn contact_taken(kind: Kind, to: &str) -> Option<Message> {
    let text =
        "Somebody, perhaps you, tried to add this address to another account. It stays with \
                the account that has it. If it was not you, there is nothing to do."
            .to_owned();
    message(kind, to, "This address has an account already", text, None)
}

/// To an address of an account whose addresses change: what happens, and how to take it back.
pub fn contacts_change(
    kind: Kind,
    to: &str,
    what: &str,
    page: &str,
    (token, good_until): (&Secret, Timestamp),
) -> Option<Message> {
    let text = format!(
        "{what} If it was you, there is nothing to do. If it was not, take it back here within three \
         days, which also ends every session and removes the password: {page}#token={} .",
        token.expose()
    );
    let subject = "The addresses of your account change";
    let message = message(kind, to, subject, text, Some(token))?;
    Some(Message {
        sort: Sort::Undo,
        good_until: Some(good_until),
        ..message
    })
}

/// After the addresses of an account were put back as they were.
pub fn contacts_restored(kind: Kind, to: &str) -> Option<Message> {
    let text =
        "The change of your account's addresses was taken back, every session was ended and \
                the password removed. Ask for a new password to log in."
            .to_owned();
    message(kind, to, "The change was taken back", text, None)
}
