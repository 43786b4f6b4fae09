//! `[limits]`: how often one may ask.

use std::time::Duration;

use serde::Deserialize;

use super::check::Wrong;

/// The while over which wrong passwords are counted.
pub const LOGIN_WINDOW: Duration = Duration::from_mins(15);

/// `[limits]`: sliding windows. What is counted by address counts an IPv4 address or an IPv6 /64,
/// in the memory of this process.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Whether anything is counted by IP address.
    pub per_ip: bool,
    /// Requests that send a code, registering among them, and new passwords by the link of a
    /// registration, from one address in an hour. How many one recipient gets is
    /// `otp.sends_per_hour`.
    pub otp_send_per_ip_per_hour: u32,
    /// Codes sent in a minute, to everybody.
    pub otp_send_per_minute: u32,
    /// Wrong codes from one address in an hour. How many of one account is `[otp]`.
    pub otp_verify_failures_per_ip_per_hour: u32,
    /// Reset links sent to one account in an hour.
    pub forgot_password_per_account_per_hour: u32,
    /// Requests for a reset link from one address in an hour.
    pub forgot_password_per_ip_per_hour: u32,
    /// Passwords set by a link, for one account in an hour.
    pub reset_password_per_account_per_hour: u32,
    /// Uses of reset links from one address in an hour.
    pub reset_password_per_ip_per_hour: u32,
    /// Wrong passwords for one account in 15 minutes, whether or not a right one came between.
    pub login_failures_per_account: u32,
    /// Wrong passwords from one address in 15 minutes.
    pub login_failures_per_ip: u32,
    /// Logins of one user in an hour whose first factor was right: by the password as many as by codes
    /// to a mail address, to a number, by other providers and by passkeys, and as many on each of the
    /// ten devices that are trusted, once it has been for an hour. Each opens a session or begins a
    /// second step, and one on a device that is new sends a message. A person logs in a few times a day;
    /// sixty leave room for those who try something out.
    pub logins_per_user_per_hour: u32,
    /// Refreshes of one session in a minute; a token that is sent again is one refresh.
    pub refresh_per_session_per_minute: u32,
    /// Requests to refresh from one address in a minute.
    pub refresh_per_ip_per_minute: u32,
    /// Requests with an access token, by one user in a minute.
    pub api_per_user_per_minute: u32,
    /// Changes that one user makes of their own account in an hour: of factors, addresses and links
    /// together, and as many of the password and of the profile, so that no token that is good for the
    /// one only uses up the other. Each leaves an event for as long as the trail is kept, and most send a message that
    /// nobody else's may have to wait for. Nobody makes a hundred by hand.
    pub changes_per_user_per_hour: u32,
    /// Requests with an access token, from one address in a minute; so are those that ask about a token
    /// or revoke one, but for gates that introspect.
    pub api_per_ip_per_minute: u32,
    /// Questions about a lock, from one address in a minute.
    pub lock_status_per_ip_per_minute: u32,
    /// Steps of logins at other providers (a login has three), from one address in a minute.
    pub social_per_ip_per_minute: u32,
    /// Captchas fetched and answers given to them, from one address in a minute.
    pub captcha_per_ip_per_minute: u32,
    /// Challenges of passkeys, from one address in a minute. A page that offers passkeys in its login
    /// form fetches one whenever the form is shown, and each keeps a row for five minutes: one a second
    /// is an office behind one address, and at most 300 rows.
    pub passkey_per_ip_per_minute: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_ip: true,
            otp_send_per_ip_per_hour: 10,
            otp_send_per_minute: 1_000,
            otp_verify_failures_per_ip_per_hour: 20,
            forgot_password_per_account_per_hour: 3,
            forgot_password_per_ip_per_hour: 10,
            reset_password_per_account_per_hour: 3,
            reset_password_per_ip_per_hour: 10,
            login_failures_per_account: 5,
            login_failures_per_ip: 10,
            logins_per_user_per_hour: 60,
            refresh_per_session_per_minute: 10,
            refresh_per_ip_per_minute: 30,
            api_per_user_per_minute: 1_000,
            changes_per_user_per_hour: 300,
            api_per_ip_per_minute: 3_000,
            lock_status_per_ip_per_minute: 60,
            social_per_ip_per_minute: 60,
            captcha_per_ip_per_minute: 60,
            passkey_per_ip_per_minute: 60,
        }
    }
}

/// Largest limit: a billion a minute is no limit, and sums of it still fit.
const MAX: u32 = 1_000_000_000;

impl Limits {
    pub(super) fn check(&self, wrong: &mut Wrong) {
        for (key, limit) in [
            (
                "limits.otp_send_per_ip_per_hour",
                self.otp_send_per_ip_per_hour,
            ),
            ("limits.otp_send_per_minute", self.otp_send_per_minute),
            (
                "limits.otp_verify_failures_per_ip_per_hour",
                self.otp_verify_failures_per_ip_per_hour,
            ),
            (
                "limits.forgot_password_per_account_per_hour",
                self.forgot_password_per_account_per_hour,
            ),
            (
                "limits.forgot_password_per_ip_per_hour",
                self.forgot_password_per_ip_per_hour,
            ),
            (
                "limits.reset_password_per_account_per_hour",
                self.reset_password_per_account_per_hour,
            ),
            (
                "limits.reset_password_per_ip_per_hour",
                self.reset_password_per_ip_per_hour,
            ),
            (
                "limits.login_failures_per_account",
                self.login_failures_per_account,
            ),
            ("limits.login_failures_per_ip", self.login_failures_per_ip),
            (
                "limits.logins_per_user_per_hour",
                self.logins_per_user_per_hour,
            ),
            (
                "limits.refresh_per_session_per_minute",
                self.refresh_per_session_per_minute,
            ),
            (
                "limits.refresh_per_ip_per_minute",
                self.refresh_per_ip_per_minute,
            ),
            (
                "limits.api_per_user_per_minute",
                self.api_per_user_per_minute,
            ),
            (
                "limits.changes_per_user_per_hour",
                self.changes_per_user_per_hour,
            ),
            ("limits.api_per_ip_per_minute", self.api_per_ip_per_minute),
            (
                "limits.lock_status_per_ip_per_minute",
                self.lock_status_per_ip_per_minute,
            ),
            (
                "limits.social_per_ip_per_minute",
                self.social_per_ip_per_minute,
            ),
            (
                "limits.captcha_per_ip_per_minute",
                self.captcha_per_ip_per_minute,
            ),
            (
                "limits.passkey_per_ip_per_minute",
                self.passkey_per_ip_per_minute,
            ),
        ] {
            wrong.expect((1..=MAX).contains(&limit), key, "expected 1 to 1000000000");
        }
    }
}
