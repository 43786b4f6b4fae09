//! Instants as arguments: nothing in this crate reads a clock.

use core::fmt;

/// Whole seconds since 1970-01-01T00:00:00Z, the `NumericDate` of RFC 7519 §2 without a fraction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub i64);

impl UnixTime {
    /// The last second of the year 9999, the largest instant that is accepted anywhere: beyond it
    /// ordinary date libraries overflow.
    pub const MAX: Self = Self(253_402_300_799);

    /// This instant `seconds` later, without overflow.
    #[must_use]
    pub const fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// This instant `seconds` earlier, without overflow.
    #[must_use]
    pub const fn minus(self, seconds: i64) -> Self {
        Self(self.0.saturating_sub(seconds))
    }

    /// Seconds from `earlier` to this instant; negative when `earlier` is later.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
