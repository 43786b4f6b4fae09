//! What a case is, and what cases are made for.

use crate::keys::{Key, Keys};
use crate::members::{Members, text};

/// For whom tokens are made.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The issuer that is trusted.
    pub issuer: String,
    /// The audience that is expected.
    pub audience: String,
    /// The instant of the verdict, in seconds since 1970, by a verifier without leeway.
    pub now: i64,
    /// Whose tokens they are.
    pub subject: String,
    /// Their session; a verifier alone does not mind which.
    pub session: String,
    /// The URL of a listener that nobody may ask for anything.
    pub bait: String,
}

/// What has to be said of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is good.
    Accepted,
    /// It is refused with this code of the contract.
    Refused(&'static str),
}

impl Verdict {
    /// The code, or `ok`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Accepted => "ok",
            Self::Refused(code) => code,
        }
    }
}

/// Whether a field of an HTTP header holds the token as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// It does: every door has to give the verdict.
    Any,
    /// A scheme without credentials is another thing than an empty token (RFC 6750 §2.1).
    Empty,
    /// White space around a field's value is not part of it (RFC 9110 §5.5).
    OuterSpace,
    /// Control characters end a field, or the message (RFC 9110 §5.5): the request is refused, or
    /// it is another one.
    Control,
    /// No server reads a field that long: it refuses the request (RFC 6585 §5).
    Large,
}

impl Carrier {
    /// Longer fields than this end at somebody's limit, before who verifies sees them: Node and
    /// hyper take 16 KiB and 400 KiB for all fields, workerd 128 KiB.
    const LARGEST: usize = 12 * 1024;

    fn of(token: &[u8]) -> Self {
        let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        if token.is_empty() {
            Self::Empty
        } else if token.len() > Self::LARGEST {
            Self::Large
        } else if token
            .iter()
            .any(|&byte| byte == 0x7f || (byte < 0x20 && byte != b'\t'))
        {
            Self::Control
        } else if is_space(token.first()) || is_space(token.last()) {
            Self::OuterSpace
        } else {
            Self::Any
        }
    }
}

/// A token and what has to be said of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// `group/what`, unique and stable.
    pub name: String,
    /// The token, byte for byte.
    pub token: Vec<u8>,
    /// What is wrong with it, or why nothing is, with the clause.
    pub why: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// Whether a header can bring it.
    pub carrier: Carrier,
}

/// Cases while they are made.
pub(crate) struct Corpus<'c> {
    pub(crate) scene: &'c Scene,
    pub(crate) keys: &'c Keys,
    cases: Vec<Case>,
}

impl<'c> Corpus<'c> {
    pub(crate) const fn new(scene: &'c Scene, keys: &'c Keys) -> Self {
        Self {
            scene,
            keys,
            cases: Vec::new(),
        }
    }

    pub(crate) fn into_cases(self) -> Vec<Case> {
        self.cases
    }

    /// The claims of a token that is good, as an honest issuer writes them.
    pub(crate) fn claims(&self) -> Members {
        let scene = self.scene;
        self.minimal_claims()
            .with("nbf", (scene.now - 60).to_string())
            .with("sid", text(&scene.session))
            .with("scope", text("report:read"))
            .with("roles", r#"["member"]"#)
            .with("amr", r#"["pwd","otp"]"#)
            .with("auth_time", (scene.now - 60).to_string())
            .with("kyc_level", "1")
    }

    /// Only what RFC 9068 §2.2 requires.
    pub(crate) fn minimal_claims(&self) -> Members {
        let scene = self.scene;
        Members::default()
            .with("iss", text(&scene.issuer))
            .with("sub", text(&scene.subject))
            .with("aud", text(&scene.audience))
            .with("client_id", text("default"))
            .with("iat", (scene.now - 60).to_string())
            .with("exp", (scene.now + 840).to_string())
            .with("jti", text("token-of-the-corpus"))
    }

    /// A good token of `key`.
    pub(crate) fn good(&self, key: &Key) -> String {
        key.token(&key.header(), &self.claims())
    }

    pub(crate) fn refuse(
        &mut self,
        name: impl Into<String>,
        code: &'static str,
        why: &'static str,
        token: impl Into<Vec<u8>>,
    ) {
        self.push(name.into(), Verdict::Refused(code), why, token.into());
    }

    pub(crate) fn accept(
        &mut self,
        name: impl Into<String>,
        why: &'static str,
        token: impl Into<Vec<u8>>,
    ) {
        self.push(name.into(), Verdict::Accepted, why, token.into());
    }

    fn push(&mut self, name: String, verdict: Verdict, why: &'static str, token: Vec<u8>) {
        self.cases.push(Case {
            name,
            carrier: Carrier::of(&token),
            token,
            why,
            verdict,
        });
    }
}
