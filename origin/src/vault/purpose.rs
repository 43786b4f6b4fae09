//! What keys are for.

/// What a key is for. Its label is part of the derivation: renaming one loses what it sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The spelling of e-mail addresses, numbers and user names, and their blind index.
    Identifier,
    /// Names and other profile data.
    Profile,
    /// The pepper of passwords.
    Password,
    /// Registrations that wait for the proof of their address.
    Registration,
    /// One-time codes and the tokens they are bound to.
    Code,
    /// The secrets of authenticator apps.
    Totp,
    /// Recovery codes.
    RecoveryCode,
    /// Passkeys, and their challenges that wait for an answer.
    Passkey,
    /// Logins that wait for their second factor.
    Mfa,
    /// Counters of failures and of messages sent.
    Abuse,
    /// Private keys that sign access tokens.
    SigningKey,
    /// The private key that signs what the gates are told.
    ControlKey,
    /// The MAC of refresh tokens.
    RefreshToken,
    /// What a session remembers of its device.
    Session,
    /// Details of audit events, and the ends of their chain.
    Audit,
    /// Tokens of trusted devices.
    Device,
    /// Who somebody is at another identity provider, and logins there that are under way.
    Social,
    /// Why an account is not active.
    Status,
    /// Changes of addresses that can be taken back, and the names under which addresses are listed.
    Contact,
    /// What was submitted for verification.
    Kyc,
    /// Answers of captchas, what they are bound to, and the tokens that they are exchanged for.
    Captcha,
    /// What people must be told of their accounts.
    Notice,
    /// What tells a master key from another one.
    Check,
    /// Derived keys that outlive their master key.
    KeptKey,
}

/// What becomes of keyed hashes for a purpose when the master key changes.
///
/// Sealed values are no question: they carry their version, and rotating seals them anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// They are made anew (the index of identifiers), or are void within minutes or days anyway.
    No,
    /// They carry the version that they were made under and cannot be made anew: the derived key
    /// of each version is kept.
    Versioned,
    /// They are looked up, and what they were made of is not here: one derived key is kept, the
    /// first, and makes them for ever.
    Always,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 24] = [
        Self::Identifier,
        Self::Profile,
        Self::Password,
        Self::Registration,
        Self::Code,
        Self::Totp,
        Self::RecoveryCode,
        Self::Passkey,
        Self::Mfa,
        Self::Abuse,
        Self::SigningKey,
        Self::ControlKey,
        Self::RefreshToken,
        Self::Session,
        Self::Audit,
        Self::Device,
        Self::Social,
        Self::Status,
        Self::Contact,
        Self::Kyc,
        Self::Captcha,
        Self::Notice,
        Self::Check,
        Self::KeptKey,
    ];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Identifier => "identifier",
            Self::Profile => "profile",
            Self::Password => "password",
            Self::Registration => "registration",
            Self::Code => "code",
            Self::Totp => "totp",
            Self::RecoveryCode => "recovery-code",
            Self::Passkey => "passkey",
            Self::Mfa => "mfa",
            Self::Abuse => "abuse",
            Self::SigningKey => "signing-key",
            Self::ControlKey => "control-key",
            Self::RefreshToken => "refresh-token",
            Self::Session => "session",
            Self::Audit => "audit",
            Self::Device => "device",
            Self::Social => "social",
            Self::Status => "status",
            Self::Contact => "contact",
            Self::Kyc => "kyc",
            Self::Captcha => "captcha",
            Self::Notice => "notice",
            Self::Check => "check",
            Self::KeptKey => "kept-key",
        }
    }

    /// Whoever adds a purpose decides here, or a rotation locks somebody out.
    pub const fn lasting(self) -> Lasting {
        match self {
            Self::Identifier
            | Self::Profile
            | Self::Registration
            | Self::Code
            | Self::Totp
            | Self::Passkey
            | Self::Mfa
            | Self::SigningKey
            | Self::ControlKey
            | Self::RefreshToken
            | Self::Session
            | Self::Status
            | Self::Kyc
            | Self::Captcha
            | Self::Notice
            | Self::Check
            | Self::KeptKey => Lasting::No,
            Self::Password | Self::RecoveryCode | Self::Audit => Lasting::Versioned,
            Self::Abuse | Self::Device | Self::Social | Self::Contact => Lasting::Always,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_all_different() {
        let mut labels = Purpose::ALL.map(Purpose::label).to_vec();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Purpose::ALL.len());
    }
}
