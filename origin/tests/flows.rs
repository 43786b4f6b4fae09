//! Every door at which somebody proves something or acts on a proof, with every way in which that
//! can go.
//!
//! One table, a row for each door and case: what is answered, how many live sessions that leaves, how
//! many failures it is counted as, and what the trail says of it. What is not a row stands elsewhere:
//! things used twice (`once.rs`), sessions of one factor where two have to be fresh (`mfa_factors.rs`),
//! which second factor may follow which first (`mfa.rs`), providers that lie (`social_hostile.rs`),
//! coming back to an account that was left (`deletion.rs`), changes that are taken back (`contacts.rs`).
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod authenticator;
mod idp;
mod person;
mod scene;
mod support;

use edgekeep_origin::accounts::status::{self, By};
use scene::Door::{
    Address, BoundRegistration, Change, Erase, Leave, LogOut, MailCode, NewApp, NewCodes, Passkey,
    Password, ProofApp, ProofMail, ProofPasskey, ProofPassword, ProofRecovery, ProofSms, Provider,
    Refresh, Registration, RemoveAddress, RemoveApp, RemoveMail, RemovePasskey, RemoveSms, Reset,
    SecondApp, SecondMail, SecondPasskey, SecondRecovery, SecondSms, SmsCode, TrustedMailCode,
    TrustedSecondMail, TrustedSecondSms, TrustedSmsCode, Unlink,
};
use scene::{Attempt, Door, NEW_PASSWORD, Scene};
use serde_json::json;
use support::{Origin, Reply};

/// How it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Right,
    Wrong,
    /// Right, after so many seconds.
    After(u64),
    /// Somebody else's proof, for one's own request.
    Anothers,
    /// One's own proof, for another request of one's own.
    OtherRequest,
    /// Right, while strangers have locked the password.
    Locked,
    /// Right, on an account that was disabled after it began.
    Disabled,
    /// Right, without the step before: the first factor, or the session.
    Skipped,
    /// Right, on an account that has a second factor.
    Half,
}

use Case::{After, Anothers, Disabled, Half, Locked, OtherRequest, Right, Skipped, Wrong};

/// Status, code or what came of it, change of live sessions, failures counted, events.
type Seen = (u16, String, i64, i64, String);

/// Door, case, and what is [`Seen`].
type Row = (Door, Case, u16, &'static str, i64, i64, &'static str);

/// The table.
///
/// A wrong password counts against what was typed and against the account; a failure at a door of
/// which nothing can be guessed (passkeys, recovery codes, links) counts against its request alone.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    (Password, Right, 200, "tokens", 1, 0, "login"),
    (Password, Half, 200, "second step", 0, 0, "login skipped: mfa_required"),
    (Password, Wrong, 401, "credentials_invalid", 0, 2, "login: credentials_invalid"),
    (Password, Anothers, 401, "credentials_invalid", 0, 2, "login: credentials_invalid"),
    (Password, Locked, 423, "account_locked", 0, 0, "login: account_locked"),
    (Password, Disabled, 401, "credentials_invalid", 0, 2, "login: credentials_invalid"),

    (MailCode, Right, 200, "tokens", 1, 0, "login"),
    (MailCode, Half, 200, "second step", 0, 0, "login skipped: mfa_required"),
    (MailCode, Wrong, 400, "code_invalid", 0, 1, "login: code_invalid"),
    (MailCode, After(299), 200, "tokens", 1, 0, "login"),
    (MailCode, After(300), 400, "code_expired", 0, 0, "login: code_expired"),
    (MailCode, Anothers, 400, "code_invalid", 0, 1, "login: code_invalid"),
    (MailCode, OtherRequest, 400, "code_invalid", 0, 0, "login: code_invalid"),
    (MailCode, Locked, 200, "tokens", 1, 0, "login"),
    (MailCode, Disabled, 400, "code_invalid", 0, 0, "login: code_invalid"),

    (SmsCode, Right, 200, "tokens", 1, 0, "login"),
    (SmsCode, Half, 200, "second step", 0, 0, "login skipped: mfa_required"),
    (SmsCode, Wrong, 400, "code_invalid", 0, 1, "login: code_invalid"),
    (SmsCode, After(299), 200, "tokens", 1, 0, "login"),
    (SmsCode, After(300), 400, "code_expired", 0, 0, "login: code_expired"),
    (SmsCode, Anothers, 400, "code_invalid", 0, 1, "login: code_invalid"),
    (SmsCode, OtherRequest, 400, "code_invalid", 0, 0, "login: code_invalid"),
    (SmsCode, Locked, 200, "tokens", 1, 0, "login"),
    (SmsCode, Disabled, 400, "code_invalid", 0, 0, "login: code_invalid"),

    // On a device that is trusted a wrong first code is counted there.
    (TrustedMailCode, Right, 200, "tokens", 1, 0, "login"),
    (TrustedMailCode, Half, 200, "second step", 0, 0, "login skipped: mfa_required"),
    (TrustedMailCode, Wrong, 400, "code_invalid", 0, 0, "login: code_invalid"),
    (TrustedMailCode, After(299), 200, "tokens", 1, 0, "login"),
    (TrustedMailCode, After(300), 400, "code_expired", 0, 0, "login: code_expired"),
    (TrustedMailCode, Anothers, 400, "code_invalid", 0, 0, "login: code_invalid"),
    (TrustedMailCode, OtherRequest, 400, "code_invalid", 0, 0, "login: code_invalid"),
    (TrustedMailCode, Locked, 200, "tokens", 1, 0, "login"),
    (TrustedMailCode, Disabled, 400, "code_invalid", 0, 0, "login: code_invalid"),

    (TrustedSmsCode, Right, 200, "tokens", 1, 0, "login"),
    (TrustedSmsCode, Half, 200, "second step", 0, 0, "login skipped: mfa_required"),
    (TrustedSmsCode, Wrong, 400, "code_invalid", 0, 0, "login: code_invalid"),
    (TrustedSmsCode, After(299), 200, "tokens", 1, 0, "login"),
    (TrustedSmsCode, After(300), 400, "code_expired", 0, 0, "login: code_expired"),
    (TrustedSmsCode, Anothers, 400, "code_invalid", 0, 0, "login: code_invalid"),
    (TrustedSmsCode, OtherRequest, 400, "code_invalid", 0, 0, "login: code_invalid"),
    (TrustedSmsCode, Locked, 200, "tokens", 1, 0, "login"),
    (TrustedSmsCode, Disabled, 400, "code_invalid", 0, 0, "login: code_invalid"),

    (Provider, Right, 200, "tokens", 1, 0, "login"),
    (Provider, Half, 200, "second step", 0, 0, "login skipped: mfa_required"),
    (Provider, Wrong, 400, "code_invalid", 0, 0, "login: code_invalid"),
    (Provider, After(59), 200, "tokens", 1, 0, "login"),
    (Provider, After(60), 400, "code_invalid", 0, 0, "login: code_invalid"),
    (Provider, Anothers, 400, "code_invalid", 0, 0, "login: code_invalid"),
    (Provider, OtherRequest, 400, "code_invalid", 0, 0, "login: code_invalid"),
    (Provider, Locked, 200, "tokens", 1, 0, "login"),
    (Provider, Disabled, 401, "credentials_invalid", 0, 0, "login: credentials_invalid"),
    (Provider, Skipped, 400, "code_invalid", 0, 0, "login: code_invalid"),

    (Passkey, Right, 200, "tokens", 1, 0, "factor skipped: two_in_one, login"),
    (Passkey, Wrong, 401, "credentials_invalid", 0, 0, "login: credentials_invalid"),
    (Passkey, After(299), 200, "tokens", 1, 0, "factor skipped: two_in_one, login"),
    (Passkey, After(300), 401, "credentials_invalid", 0, 0, "login: code_invalid"),
    (Passkey, Anothers, 401, "credentials_invalid", 0, 0, "login: credentials_invalid"),
    (Passkey, OtherRequest, 401, "credentials_invalid", 0, 0, "login: credentials_invalid"),
    (Passkey, Locked, 200, "tokens", 1, 0, "factor skipped: two_in_one, login"),
    (Passkey, Disabled, 401, "credentials_invalid", 0, 0, "login: credentials_invalid"),

    (SecondApp, Right, 200, "tokens", 1, 0, "factor, login"),
    (SecondApp, Wrong, 400, "code_invalid", 0, 1, "factor: code_invalid"),
    (SecondApp, After(59), 200, "tokens", 1, 0, "factor, login"),
    (SecondApp, After(60), 400, "code_invalid", 0, 1, "factor: code_invalid"),
    (SecondApp, After(300), 400, "code_expired", 0, 0, "factor: code_expired"),
    (SecondApp, Anothers, 400, "code_invalid", 0, 1, "factor: code_invalid"),
    (SecondApp, Locked, 200, "tokens", 1, 0, "factor, login"),
    (SecondApp, Disabled, 400, "code_invalid", 0, 0, "factor: code_invalid"),
    (SecondApp, Skipped, 400, "code_invalid", 0, 0, "factor: code_invalid"),

    (SecondRecovery, Right, 200, "tokens", 1, 0, "factor, login"),
    (SecondRecovery, Wrong, 400, "code_invalid", 0, 0, "factor: code_invalid"),
    (SecondRecovery, After(299), 200, "tokens", 1, 0, "factor, login"),
    (SecondRecovery, After(300), 400, "code_expired", 0, 0, "factor: code_expired"),
    (SecondRecovery, Anothers, 400, "code_invalid", 0, 0, "factor: code_invalid"),
    (SecondRecovery, Locked, 200, "tokens", 1, 0, "factor, login"),
    (SecondRecovery, Disabled, 400, "code_invalid", 0, 0, "factor: code_invalid"),
    (SecondRecovery, Skipped, 400, "code_invalid", 0, 0, "factor: code_invalid"),

    (SecondMail, Right, 200, "tokens", 1, 0, "factor, login"),
    (SecondMail, Wrong, 400, "code_invalid", 0, 1, "factor: code_invalid"),
    (SecondMail, After(299), 200, "tokens", 1, 0, "factor, login"),
    (SecondMail, After(300), 400, "code_expired", 0, 0, "factor: code_expired"),
    (SecondMail, Anothers, 400, "code_invalid", 0, 1, "factor: code_invalid"),
    (SecondMail, OtherRequest, 400, "code_invalid", 0, 0, "factor: code_invalid"),
    (SecondMail, Locked, 200, "tokens", 1, 0, "factor, login"),
    (SecondMail, Disabled, 400, "code_invalid", 0, 0, "factor: code_invalid"),
    (SecondMail, Skipped, 400, "code_invalid", 0, 0, "factor: code_invalid"),

    (SecondSms, Right, 200, "tokens", 1, 0, "factor, login"),
    (SecondSms, Wrong, 400, "code_invalid", 0, 1, "factor: code_invalid"),
    (SecondSms, After(299), 200, "tokens", 1, 0, "factor, login"),
    (SecondSms, After(300), 400, "code_expired", 0, 0, "factor: code_expired"),
    (SecondSms, Anothers, 400, "code_invalid", 0, 1, "factor: code_invalid"),
    (SecondSms, OtherRequest, 400, "code_invalid", 0, 0, "factor: code_invalid"),
    (SecondSms, Locked, 200, "tokens", 1, 0, "factor, login"),
    (SecondSms, Disabled, 400, "code_invalid", 0, 0, "factor: code_invalid"),
    (SecondSms, Skipped, 400, "code_invalid", 0, 0, "factor: code_invalid"),

    (TrustedSecondMail, Right, 200, "tokens", 1, 0, "factor, login"),
    (TrustedSecondMail, Wrong, 400, "code_invalid", 0, 1, "factor: code_invalid"),
    (TrustedSecondMail, After(299), 200, "tokens", 1, 0, "factor, login"),
    (TrustedSecondMail, After(300), 400, "code_expired", 0, 0, "factor: code_expired"),
    (TrustedSecondMail, Anothers, 400, "code_invalid", 0, 1, "factor: code_invalid"),
    (TrustedSecondMail, OtherRequest, 400, "code_invalid", 0, 0, "factor: code_invalid"),
    (TrustedSecondMail, Locked, 200, "tokens", 1, 0, "factor, login"),
    (TrustedSecondMail, Disabled, 400, "code_invalid", 0, 0, "factor: code_invalid"),
    (TrustedSecondMail, Skipped, 400, "code_invalid", 0, 0, "factor: code_invalid"),

    (TrustedSecondSms, Right, 200, "tokens", 1, 0, "factor, login"),
    (TrustedSecondSms, Wrong, 400, "code_invalid", 0, 1, "factor: code_invalid"),
    (TrustedSecondSms, After(299), 200, "tokens", 1, 0, "factor, login"),
    (TrustedSecondSms, After(300), 400, "code_expired", 0, 0, "factor: code_expired"),
    (TrustedSecondSms, Anothers, 400, "code_invalid", 0, 1, "factor: code_invalid"),
    (TrustedSecondSms, OtherRequest, 400, "code_invalid", 0, 0, "factor: code_invalid"),
    (TrustedSecondSms, Locked, 200, "tokens", 1, 0, "factor, login"),
    (TrustedSecondSms, Disabled, 400, "code_invalid", 0, 0, "factor: code_invalid"),
    (TrustedSecondSms, Skipped, 400, "code_invalid", 0, 0, "factor: code_invalid"),

    (SecondPasskey, Right, 200, "tokens", 1, 0, "factor, login"),
    (SecondPasskey, Wrong, 400, "code_invalid", 0, 0, "factor: code_invalid"),
    (SecondPasskey, After(299), 200, "tokens", 1, 0, "factor, login"),
    (SecondPasskey, After(300), 400, "code_expired", 0, 0, "factor: code_expired"),
    (SecondPasskey, Anothers, 400, "code_invalid", 0, 0, "factor: code_invalid"),
    (SecondPasskey, OtherRequest, 400, "code_invalid", 0, 0, "factor: code_invalid"),
    (SecondPasskey, Locked, 200, "tokens", 1, 0, "factor, login"),
    (SecondPasskey, Disabled, 400, "code_invalid", 0, 0, "factor: code_invalid"),
    (SecondPasskey, Skipped, 400, "code_invalid", 0, 0, "factor: code_invalid"),

    (ProofPassword, Right, 200, "tokens", 0, 0, "reauthentication"),
    (ProofPassword, Wrong, 401, "credentials_invalid", 0, 1, "reauthentication: credentials_invalid"),
    (ProofPassword, After(900), 200, "tokens", 0, 0, "reauthentication"),
    (ProofPassword, Anothers, 401, "credentials_invalid", 0, 1, "reauthentication: credentials_invalid"),
    (ProofPassword, Locked, 200, "tokens", 0, 0, "reauthentication"),
    (ProofPassword, Disabled, 401, "token_revoked", 0, 0, ""),
    (ProofPassword, Skipped, 401, "token_missing", 0, 0, ""),

    (ProofApp, Right, 200, "tokens", 0, 0, "reauthentication"),
    (ProofApp, Wrong, 400, "code_invalid", 0, 1, "reauthentication: code_invalid"),
    (ProofApp, After(59), 200, "tokens", 0, 0, "reauthentication"),
    (ProofApp, After(60), 400, "code_invalid", 0, 1, "reauthentication: code_invalid"),
    (ProofApp, Anothers, 400, "code_invalid", 0, 1, "reauthentication: code_invalid"),
    (ProofApp, Locked, 200, "tokens", 0, 0, "reauthentication"),
    (ProofApp, Disabled, 401, "token_revoked", 0, 0, ""),
    (ProofApp, Skipped, 401, "token_missing", 0, 0, ""),

    (ProofRecovery, Right, 200, "tokens", 0, 0, "reauthentication"),
    (ProofRecovery, Wrong, 400, "code_invalid", 0, 0, "reauthentication: code_invalid"),
    (ProofRecovery, After(900), 401, "token_expired", 0, 0, ""),
    (ProofRecovery, Anothers, 400, "code_invalid", 0, 0, "reauthentication: code_invalid"),
    (ProofRecovery, Locked, 200, "tokens", 0, 0, "reauthentication"),
    (ProofRecovery, Disabled, 401, "token_revoked", 0, 0, ""),
    (ProofRecovery, Skipped, 401, "token_missing", 0, 0, ""),

    (ProofMail, Right, 200, "tokens", 0, 0, "reauthentication"),
    (ProofMail, Wrong, 400, "code_invalid", 0, 1, "reauthentication: code_invalid"),
    (ProofMail, After(299), 200, "tokens", 0, 0, "reauthentication"),
    (ProofMail, After(300), 400, "code_expired", 0, 0, "reauthentication: code_expired"),
    (ProofMail, Anothers, 400, "code_invalid", 0, 1, "reauthentication: code_invalid"),
    (ProofMail, OtherRequest, 400, "code_invalid", 0, 0, "reauthentication: code_invalid"),
    (ProofMail, Locked, 200, "tokens", 0, 0, "reauthentication"),
    (ProofMail, Disabled, 401, "token_revoked", 0, 0, ""),
    (ProofMail, Skipped, 401, "token_missing", 0, 0, ""),

    (ProofSms, Right, 200, "tokens", 0, 0, "reauthentication"),
    (ProofSms, Wrong, 400, "code_invalid", 0, 1, "reauthentication: code_invalid"),
    (ProofSms, After(299), 200, "tokens", 0, 0, "reauthentication"),
    (ProofSms, After(300), 400, "code_expired", 0, 0, "reauthentication: code_expired"),
    (ProofSms, Anothers, 400, "code_invalid", 0, 1, "reauthentication: code_invalid"),
    (ProofSms, OtherRequest, 400, "code_invalid", 0, 0, "reauthentication: code_invalid"),
    (ProofSms, Locked, 200, "tokens", 0, 0, "reauthentication"),
    (ProofSms, Disabled, 401, "token_revoked", 0, 0, ""),
    (ProofSms, Skipped, 401, "token_missing", 0, 0, ""),

    (ProofPasskey, Right, 200, "tokens", 0, 0, "reauthentication"),
    (ProofPasskey, Wrong, 400, "code_invalid", 0, 0, "reauthentication: code_invalid"),
    (ProofPasskey, After(299), 200, "tokens", 0, 0, "reauthentication"),
    (ProofPasskey, After(300), 400, "code_invalid", 0, 0, "reauthentication: code_invalid"),
    (ProofPasskey, Anothers, 400, "code_invalid", 0, 0, "reauthentication: code_invalid"),
    (ProofPasskey, OtherRequest, 400, "code_invalid", 0, 0, "reauthentication: code_invalid"),
    (ProofPasskey, Locked, 200, "tokens", 0, 0, "reauthentication"),
    (ProofPasskey, Disabled, 401, "token_revoked", 0, 0, ""),
    (ProofPasskey, Skipped, 401, "token_missing", 0, 0, ""),

    (Registration, Right, 200, "tokens", 1, 0, "registration, login"),
    (Registration, Wrong, 400, "code_invalid", 0, 1, "registration: code_invalid"),
    (Registration, After(299), 200, "tokens", 1, 0, "registration, login"),
    (Registration, After(300), 400, "code_expired", 0, 0, "registration: code_expired"),
    (Registration, Anothers, 400, "code_invalid", 0, 1, "registration: code_invalid"),
    // Of several that wait for one address each code is good, by the address alone.
    (Registration, OtherRequest, 200, "tokens", 1, 0, "registration, login"),

    (BoundRegistration, Right, 200, "tokens", 1, 0, "registration, login"),
    (BoundRegistration, Wrong, 400, "code_invalid", 0, 1, "registration: code_invalid"),
    (BoundRegistration, After(299), 200, "tokens", 1, 0, "registration, login"),
    (BoundRegistration, After(300), 400, "code_expired", 0, 0, "registration: code_expired"),
    (BoundRegistration, Anothers, 400, "code_invalid", 0, 1, "registration: code_invalid"),
    (BoundRegistration, OtherRequest, 400, "code_invalid", 0, 1, "registration: code_invalid"),

    (Reset, Right, 204, "done", -1, 0, "session_end user, password reset"),
    (Reset, Half, 204, "done", -2, 0, "session_end user, session_end user, password reset"),
    (Reset, Wrong, 400, "code_invalid", 0, 0, "password: code_invalid"),
    (Reset, After(599), 204, "done", -1, 0, "session_end user, password reset"),
    (Reset, After(600), 400, "code_expired", 0, 0, "password: code_expired"),
    (Reset, Locked, 204, "done", -1, 0, "session_end user, password reset, lock lifted"),
    (Reset, Disabled, 400, "code_invalid", 0, 0, "password: code_invalid"),

    (Change, Right, 204, "done", 0, 0, "password changed"),
    (Change, Half, 204, "done", -1, 0, "password changed, session_end user"),
    (Change, Wrong, 401, "credentials_invalid", 0, 1, "password: credentials_invalid"),
    (Change, After(900), 204, "done", 0, 0, "password changed"),
    (Change, Anothers, 401, "credentials_invalid", 0, 1, "password: credentials_invalid"),
    (Change, Locked, 204, "done", 0, 0, "password changed"),
    (Change, Disabled, 401, "token_revoked", 0, 0, ""),
    (Change, Skipped, 401, "token_missing", 0, 0, ""),

    (Address, Right, 200, "done", 0, 0, "contact added"),
    (Address, Wrong, 400, "code_invalid", 0, 1, "contact: code_invalid"),
    (Address, After(299), 200, "done", 0, 0, "contact added"),
    (Address, After(300), 400, "code_expired", 0, 0, "contact: code_expired"),
    (Address, After(599), 401, "step_up_required", 0, 0, ""),
    (Address, Anothers, 400, "code_invalid", 0, 1, "contact: code_invalid"),
    (Address, OtherRequest, 400, "code_invalid", 0, 0, "contact: code_invalid"),
    (Address, Locked, 200, "done", 0, 0, "contact added"),
    (Address, Disabled, 401, "token_revoked", 0, 0, ""),
    (Address, Skipped, 401, "token_missing", 0, 0, ""),

    (Refresh, Right, 200, "tokens", 0, 0, ""),
    (Refresh, Wrong, 401, "refresh_invalid", 0, 0, ""),
    (Refresh, After(604_799), 200, "tokens", 0, 0, ""),
    (Refresh, After(604_800), 401, "session_ended", 0, 0, ""),
    (Refresh, Locked, 200, "tokens", 0, 0, ""),
    (Refresh, Disabled, 401, "session_ended", 0, 0, ""),

    (LogOut, Right, 204, "done", -1, 0, "session_end logout"),
    (LogOut, Locked, 204, "done", -1, 0, "session_end logout"),
    (LogOut, Disabled, 401, "token_revoked", 0, 0, ""),
    (LogOut, Skipped, 401, "token_missing", 0, 0, ""),

    (Leave, Right, 204, "done", -2, 0, "session_end deactivated, session_end deactivated, status"),
    (Leave, After(270), 204, "done", -2, 0, "session_end deactivated, session_end deactivated, status"),
    (Leave, After(271), 401, "step_up_required", 0, 0, ""),
    (Leave, Locked, 204, "done", -2, 0, "session_end deactivated, session_end deactivated, status"),
    (Leave, Disabled, 401, "token_revoked", 0, 0, ""),
    (Leave, Skipped, 401, "token_missing", 0, 0, ""),

    (Erase, Right, 202, "done", -2, 0, "session_end deleted, session_end deleted, status"),
    (Erase, After(270), 202, "done", -2, 0, "session_end deleted, session_end deleted, status"),
    (Erase, After(271), 401, "step_up_required", 0, 0, ""),
    (Erase, Locked, 202, "done", -2, 0, "session_end deleted, session_end deleted, status"),
    (Erase, Disabled, 401, "token_revoked", 0, 0, ""),
    (Erase, Skipped, 401, "token_missing", 0, 0, ""),

    (RemoveAddress, Right, 204, "done", 0, 0, "factor_change removed, contact removed"),
    (RemoveAddress, After(270), 204, "done", 0, 0, "factor_change removed, contact removed"),
    (RemoveAddress, After(271), 401, "step_up_required", 0, 0, ""),
    (RemoveAddress, Anothers, 404, "not_found", 0, 0, ""),
    (RemoveAddress, Locked, 204, "done", 0, 0, "factor_change removed, contact removed"),
    (RemoveAddress, Disabled, 401, "token_revoked", 0, 0, ""),
    (RemoveAddress, Skipped, 401, "token_missing", 0, 0, ""),

    (Unlink, Right, 204, "done", 0, 0, "identity unlinked"),
    (Unlink, After(270), 204, "done", 0, 0, "identity unlinked"),
    (Unlink, After(271), 401, "step_up_required", 0, 0, ""),
    (Unlink, Anothers, 404, "not_found", 0, 0, ""),
    (Unlink, Locked, 204, "done", 0, 0, "identity unlinked"),
    (Unlink, Disabled, 401, "token_revoked", 0, 0, ""),
    (Unlink, Skipped, 401, "token_missing", 0, 0, ""),

    (NewApp, Right, 200, "done", 0, 0, ""),
    (NewApp, After(270), 200, "done", 0, 0, ""),
    (NewApp, After(271), 401, "step_up_required", 0, 0, ""),
    (NewApp, Locked, 200, "done", 0, 0, ""),
    (NewApp, Disabled, 401, "token_revoked", 0, 0, ""),
    (NewApp, Skipped, 401, "token_missing", 0, 0, ""),

    (NewCodes, Right, 200, "done", 0, 0, "factor_change added"),
    (NewCodes, After(270), 200, "done", 0, 0, "factor_change added"),
    (NewCodes, After(271), 401, "step_up_required", 0, 0, ""),
    (NewCodes, Locked, 200, "done", 0, 0, "factor_change added"),
    (NewCodes, Disabled, 401, "token_revoked", 0, 0, ""),
    (NewCodes, Skipped, 401, "token_missing", 0, 0, ""),

    (RemoveApp, Right, 204, "done", 0, 0, "factor_change removed"),
    (RemoveApp, After(270), 204, "done", 0, 0, "factor_change removed"),
    (RemoveApp, After(271), 401, "step_up_required", 0, 0, ""),
    (RemoveApp, Locked, 204, "done", 0, 0, "factor_change removed"),
    (RemoveApp, Disabled, 401, "token_revoked", 0, 0, ""),
    (RemoveApp, Skipped, 401, "token_missing", 0, 0, ""),

    (RemoveMail, Right, 204, "done", 0, 0, "factor_change removed"),
    (RemoveMail, After(270), 204, "done", 0, 0, "factor_change removed"),
    (RemoveMail, After(271), 401, "step_up_required", 0, 0, ""),
    (RemoveMail, Locked, 204, "done", 0, 0, "factor_change removed"),
    (RemoveMail, Disabled, 401, "token_revoked", 0, 0, ""),
    (RemoveMail, Skipped, 401, "token_missing", 0, 0, ""),

    (RemoveSms, Right, 204, "done", 0, 0, "factor_change removed"),
    (RemoveSms, After(270), 204, "done", 0, 0, "factor_change removed"),
    (RemoveSms, After(271), 401, "step_up_required", 0, 0, ""),
    (RemoveSms, Locked, 204, "done", 0, 0, "factor_change removed"),
    (RemoveSms, Disabled, 401, "token_revoked", 0, 0, ""),
    (RemoveSms, Skipped, 401, "token_missing", 0, 0, ""),

    (RemovePasskey, Right, 204, "done", 0, 0, "factor_change removed"),
    (RemovePasskey, After(270), 204, "done", 0, 0, "factor_change removed"),
    (RemovePasskey, After(271), 401, "step_up_required", 0, 0, ""),
    (RemovePasskey, Anothers, 404, "not_found", 0, 0, ""),
    (RemovePasskey, Locked, 204, "done", 0, 0, "factor_change removed"),
    (RemovePasskey, Disabled, 401, "token_revoked", 0, 0, ""),
    (RemovePasskey, Skipped, 401, "token_missing", 0, 0, ""),
];

async fn numbers(origin: &Origin) -> (i64, i64, i64) {
    let live = "SELECT COUNT(*) FROM sessions WHERE ended_at IS NULL";
    let failures = "SELECT (SELECT COUNT(*) FROM code_failures)
                    + (SELECT COUNT(*) FROM attempts WHERE kind = 'login')";
    let events = "SELECT MAX(sequence) FROM audit_events";
    (
        person::number(origin, live).await,
        person::number(origin, failures).await,
        person::number(origin, events).await,
    )
}

/// Plays one row.
async fn play(door: Door, case: Case) -> Seen {
    let with_factors = case == Half || door.needs_factors();
    let people = if case == Anothers { 2 } else { 1 };
    let mut scene = Scene::new(people, with_factors).await;
    let mut attempt = scene.begin(door, 0).await;
    match case {
        Right | Half => {}
        Wrong => {
            attempt.proof = scene.wrong(&attempt.proof);
        }
        After(seconds) => scene.origin.advance(seconds),
        Anothers if door.is_act() => attempt.headers = scene.begin(door, 1).await.headers,
        Anothers => attempt.proof = scene.begin(door, 1).await.proof,
        OtherRequest => {
            // Messages to one number are not sent one upon the other.
            scene.origin.advance(61);
            attempt.proof = scene.begin(door, 0).await.proof;
        }
        Locked => {
            for _ in 0..5 {
                let body = json!({"identifier": scene.people[0].email, "password": "wrong one"});
                let reply = scene.origin.post("/login", body).await;
                reply.expect(401, "credentials_invalid");
            }
        }
        Disabled => {
            let state = &scene.origin.state;
            let by = By::OPERATOR;
            let mut tx = state.db.write().await.unwrap();
            status::disable(state, &mut tx, by, scene.people[0].id, None)
                .await
                .unwrap();
            tx.commit().await.unwrap();
        }
        Skipped => {
            attempt.headers.clear();
            if attempt.step.get("mfa_token").is_some() {
                attempt.step["mfa_token"] = json!(format!("ekm_{}", "A".repeat(43)));
            }
        }
    }
    let before = numbers(&scene.origin).await;
    let reply = attempt.send(&scene.origin).await;
    let after = numbers(&scene.origin).await;
    let told = match &reply.body {
        body if body["access_token"].is_string() => "tokens",
        body if body["mfa_required"] == true => "second step",
        _ if reply.status.is_success() => "done",
        _ => reply.code(),
    };
    let mut reader = scene.origin.state.db.read().await.unwrap();
    let events: Vec<String> = sqlx::query_scalar(
        "SELECT kind || CASE outcome WHEN 'success' THEN ' ' WHEN 'failure' THEN ': '
                        ELSE ' skipped: ' END || reason
         FROM audit_events WHERE sequence > $1 AND kind <> 'trusted_device' ORDER BY sequence",
    )
    .bind(before.2)
    .fetch_all(&mut *reader)
    .await
    .unwrap();
    (
        reply.status.as_u16(),
        told.to_owned(),
        after.0 - before.0,
        after.1 - before.1,
        events
            .iter()
            .map(|event| event.trim_end())
            .collect::<Vec<_>>()
            .join(", "),
    )
}

/// Plays these rows one after the other; those that went otherwise, and how.
async fn play_all(rows: &[Row]) -> Vec<(Door, Case, Seen)> {
    let mut bad_rows = Vec::new();
    for &(door, case, status, told, sessions, failures, events) in rows {
        let seen = play(door, case).await;
        let (told, events) = (told.to_owned(), events.to_owned());
        if seen != (status, told, sessions, failures, events) {
            bad_rows.push((door, case, seen));
        }
    }
    bad_rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_door_answers_counts_and_tells_every_case_as_it_should() {
    let parts = ROWS.chunks(ROWS.len().div_ceil(4));
    let parts: Vec<_> = parts.map(|rows| tokio::spawn(play_all(rows))).collect();
    let mut bad_rows = Vec::new();
    for part in parts {
        bad_rows.extend(part.await.unwrap());
    }
    assert!(bad_rows.is_empty(), "{bad_rows:#?}");
}

/// The ways to have a password of Alice's judged: by what she is called, or within her session.
const SPELLINGS: [&str; 5] = [
    "alice@example.org",
    " ALICE@Example.ORG ",
    "+41791234567",
    "alice",
    "\u{ff21}lice",
];

async fn judge_password(scene: &Scene, way: usize, password: &str) -> Reply {
    let bearer = &scene.people[0].bearer;
    let attempt = match SPELLINGS.get(way) {
        Some(identifier) => {
            let step = json!({ "identifier": identifier });
            Attempt::new("/login", step, json!({ "password": password }))
        }
        None if way == SPELLINGS.len() => {
            let step = json!({"method": "password"});
            Attempt::new("/reauthenticate", step, json!({ "password": password })).within(bearer)
        }
        None => {
            let step = json!({"new_password": NEW_PASSWORD});
            let proof = json!({ "current_password": password });
            Attempt::new("/change-password", step, proof).within(bearer)
        }
    };
    attempt.send(&scene.origin).await
}

#[tokio::test]
async fn a_password_that_was_guessed_at_one_way_is_locked_every_such_way() {
    let ways = SPELLINGS.len() + 2;
    for guessed in 0..ways {
        for right in 0..ways {
            let at = format!("{guessed}, then {right}");
            let scene = Scene::new(1, false).await;
            for _ in 0..5 {
                let reply = judge_password(&scene, guessed, "wrong password").await;
                assert_eq!(reply.code(), "credentials_invalid", "{at}");
            }
            let password = scene.people[0].password;
            let reply = judge_password(&scene, right, password).await;
            // Another name of the same account does not say that it is one. Strangers lock nobody out
            // of their sessions, nor whoever has a session out of the login.
            let (mail, name) = (|way: usize| way < 2, |way: usize| way == 3 || way == 4);
            let within = |way: usize| way >= SPELLINGS.len();
            let is_known = right == guessed
                || (mail(right) && mail(guessed))
                || (name(right) && name(guessed))
                || (within(right) && within(guessed));
            let expected = match (is_known, within(right), within(guessed)) {
                (true, ..) => (423, "account_locked"),
                (false, false, false) => (401, "credentials_invalid"),
                (false, true, _) if right > SPELLINGS.len() => (204, ""),
                (false, ..) => (200, ""),
            };
            assert_eq!((reply.status.as_u16(), reply.code()), expected, "{at}");
            // With the password that is the account's now.
            if expected.0 != 204 {
                scene.origin.advance(900);
                let bearer = scene.people[0].enter(&scene.origin).await;
                bearer.expect(200, "");
            }
        }
    }
}

#[tokio::test]
async fn wrong_codes_are_one_count_whatever_the_spelling_and_the_door() {
    // The tenth turns codes off for the account, at both doors.
    for (wrong_by_sms, answer) in [(1, (200, "")), (2, (400, "code_invalid"))] {
        for by_mail in [true, false] {
            let mut scene = Scene::new(1, false).await;
            let mut sms = scene.begin(SmsCode, 0).await;
            let right_by_sms = sms.proof.clone();
            sms.proof = scene.wrong(&right_by_sms);
            for _ in 0..wrong_by_sms {
                let reply = sms.clone().send(&scene.origin).await;
                reply.expect(400, "code_invalid");
            }
            let mut mail = sms.clone();
            let mut right_by_mail = json!({});
            for (spelling, guesses) in [
                (SPELLINGS[0], 3),
                (SPELLINGS[1], 3),
                ("\u{ff21}lice@example.org", 2),
            ] {
                let body = json!({ "email": spelling });
                let sent = scene.origin.post("/otp/send", body).await.expect(200, "");
                right_by_mail = json!({"code": scene.origin.code(SPELLINGS[0])});
                let step = json!({"otp_token": sent.body["otp_token"]});
                mail = Attempt::new("/otp/verify", step, scene.wrong(&right_by_mail));
                for _ in 0..guesses {
                    let reply = mail.clone().send(&scene.origin).await;
                    reply.expect(400, "code_invalid");
                }
            }
            mail.proof = right_by_mail;
            sms.proof = right_by_sms;
            let right = if by_mail { mail } else { sms };
            let (status, code) = answer;
            right.send(&scene.origin).await.expect(status, code);
        }
    }
}
