//! Why something was refused: one closed enum, with the stable codes callers rely on.

use core::fmt;

macro_rules! rejections {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $status:literal;)+) => {
        /// Why a request or a token is refused.
        ///
        /// [`code`](Self::code) is part of the public contract: `edgekeep verify`, the gate and
        /// the issuer answer with the same word for the same cause.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Rejection {
            $($(#[$doc])* $variant,)+
        }

        impl Rejection {
            /// Every variant, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable code, for instance `token_expired`.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                }
            }

            /// The HTTP status a gate answers with.
            pub const fn status(self) -> u16 {
                match self {
                    $(Self::$variant => $status,)+
                }
            }
        }
    };
}

rejections! {
    /// No token was sent.
    TokenMissing = "token_missing", 401;
    /// The bytes are not a compact JWS with well-formed JSON in it (RFC 7515 §3.1, RFC 7519 §7.2).
    TokenMalformed = "token_malformed", 401;
    /// The token is longer than [`MAX_TOKEN_BYTES`](crate::token::MAX_TOKEN_BYTES).
    TokenTooLarge = "token_too_large", 401;
    /// `alg` is not one that is accepted, or not the key's own (RFC 8725 §3.1).
    AlgorithmNotAllowed = "algorithm_not_allowed", 401;
    /// The header has `crit` or `b64`: no extension is understood (RFC 7515 §4.1.11, RFC 7797).
    CriticalHeader = "critical_header", 401;
    /// `typ` is not the expected one (RFC 8725 §3.11, RFC 9068 §2.1).
    WrongType = "wrong_type", 401;
    /// No key with the header's `kid` is in the JWK Set.
    KeyUnknown = "key_unknown", 401;
    /// The signature does not verify.
    SignatureInvalid = "signature_invalid", 401;
    /// A required claim is absent (RFC 9068 §2.2).
    ClaimMissing = "claim_missing", 401;
    /// A claim has the wrong JSON type or an impossible value.
    ClaimInvalid = "claim_invalid", 401;
    /// `iss` is not the issuer that is trusted.
    IssuerMismatch = "issuer_mismatch", 401;
    /// `aud` does not name this resource.
    AudienceMismatch = "audience_mismatch", 401;
    /// The token's time is over: now is at or after `exp`.
    TokenExpired = "token_expired", 401;
    /// The token's time has not come: `nbf` or `iat` lies in the future.
    TokenNotYetValid = "token_not_yet_valid", 401;
    /// The token, its session, its subject or its key has been revoked.
    TokenRevoked = "token_revoked", 401;
    /// A scope that the route asks for was not granted (RFC 6750 §3.1).
    InsufficientScope = "insufficient_scope", 403;
    /// A role that the route asks for is not held.
    InsufficientRole = "insufficient_role", 403;
    /// A permission that the route asks for is not held.
    InsufficientPermission = "insufficient_permission", 403;
    /// The person is not verified to the level that the route asks for.
    KycRequired = "kyc_required", 403;
    /// A stronger or fresher authentication is needed (RFC 9470 §3, which asks for 401).
    StepUpRequired = "step_up_required", 401;
    /// The path has no canonical form that everybody reads alike.
    PathInvalid = "path_invalid", 400;
    /// The request claims what only a gateway may say, or lacks what it has to say.
    RequestInvalid = "request_invalid", 400;
    /// No rule of the policy covers the route.
    RouteUnknown = "route_unknown", 403;
    /// No trustworthy JWK Set is to be had.
    KeysUnavailable = "keys_unavailable", 503;
    /// No sufficiently fresh revocation list is to be had.
    RevocationUnavailable = "revocation_unavailable", 503;
    /// No policy is to be had.
    PolicyUnavailable = "policy_unavailable", 503;
    /// The upstream could not be reached.
    UpstreamUnavailable = "upstream_unavailable", 502;
    /// Too many requests.
    RateLimited = "rate_limited", 429;
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl core::error::Error for Rejection {}
