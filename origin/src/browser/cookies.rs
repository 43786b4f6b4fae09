//! The cookies of browser mode: their names, reading them, setting them.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

use crate::app::State;
use crate::config::SameSite;
use crate::error::Error;
use crate::vault::Secret;

/// A cookie, by what it holds.
#[derive(Clone, Copy)]
pub(super) enum Cookie {
    /// The session's refresh token.
    Refresh,
    /// The token by which this browser is a trusted device of whoever logged in last.
    Device,
}

impl Cookie {
    /// Over TLS with the prefix that only this host can set, and not for its subdomains
    /// (RFC 6265bis §4.1.3.2); on loopback without.
    fn name(self, state: &State) -> &'static str {
        match (self, is_secure(state)) {
            (Self::Refresh, true) => "__Host-edgekeep_refresh",
            (Self::Refresh, false) => "edgekeep_refresh",
            (Self::Device, true) => "__Host-edgekeep_device",
            (Self::Device, false) => "edgekeep_device",
        }
    }

    /// What the request's cookie holds; an empty one holds nothing.
    ///
    /// # Errors
    /// [`Error::RequestInvalid`] when it is there twice: which of them is ours is not to be told.
    pub(super) fn read(self, state: &State, headers: &HeaderMap) -> Result<Option<Secret>, Error> {
        let name = self.name(state);
        let mut values = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value);
        let value = values.next();
        if values.next().is_some() {
            return Err(Error::invalid("A cookie was sent twice."));
        }
        let value = value.filter(|value| !value.is_empty());
        Ok(value.map(|value| Secret::new(value.to_owned())))
    }

    /// Has the browser keep `value` for `life`, where no script reads it.
    pub(super) fn set(
        self,
        state: &State,
        response: &mut Response,
        value: &str,
        life: Duration,
    ) -> Result<(), Error> {
        let name = self.name(state);
        let site = match state.config.browser.same_site {
            SameSite::Strict => "Strict",
            SameSite::None => "None",
        };
        let secure = if is_secure(state) { "; Secure" } else { "" };
        let age = life.as_secs();
        let text =
            format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite={site}{secure}");
        let value = HeaderValue::from_str(&text).map_err(|_| Error::internal("cookie"))?;
        response.headers_mut().append(header::SET_COOKIE, value);
        Ok(())
    }

    /// Has the browser forget it.
    pub(super) fn clear(self, state: &State, response: &mut Response) -> Result<(), Error> {
        self.set(state, response, "", Duration::ZERO)
    }
}

fn is_secure(state: &State) -> bool {
    state.config.issuer().starts_with("https://")
}
