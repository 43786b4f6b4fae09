//! Paths that name whom they belong to.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString as _;

use super::fields::{Fields, Read, fault};
use super::pattern::Pattern;
use super::requirement::Holder;

/// A segment of the path that must name the holder: `{user_id}` what `sub` says, for instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The parameter of the pattern.
    pub parameter: Box<str>,
    /// What it must be equal to, decoded.
    pub claim: OwnerClaim,
}

/// A claim by which somebody owns something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerClaim {
    /// `sub`
    Subject,
    /// `customer_id`
    Customer,
}

impl OwnerClaim {
    /// The claim's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Subject => "sub",
            Self::Customer => "customer_id",
        }
    }

    pub(super) const fn of<'a, S>(self, holder: &Holder<'a, S>) -> Option<&'a str> {
        match self {
            Self::Subject => holder.subject,
            Self::Customer => holder.customer_id,
        }
    }
}

/// Reads `owner`.
pub(super) fn read(fields: &Fields<'_, '_>, pattern: &Pattern) -> Read<Box<[Owner]>> {
    let Some(table) = fields.table("owner")? else {
        if let Some((_, at)) = fields.first_of(&["owner_or_roles"]) {
            return fault(
                at,
                "\"owner_or_roles\" has no effect, expected \"owner\" beside it".to_string(),
            );
        }
        return Ok(Box::default());
    };
    let entries = table.strings()?;
    if entries.is_empty() {
        return fault(
            table.at,
            "\"owner\" is empty, expected for instance { user_id = \"sub\" }".to_string(),
        );
    }
    let owned = |(parameter, at, claim, claim_at): (&str, usize, &str, usize)| {
        if !pattern.parameter_names().any(|name| name == parameter) {
            return fault(
                at,
                format!("\"owner\" has {parameter:?}, but {pattern} has no {{{parameter}}}"),
            );
        }
        let claim = match claim {
            "sub" => OwnerClaim::Subject,
            "customer_id" => OwnerClaim::Customer,
            other => {
                return fault(
                    claim_at,
                    format!("\"{parameter}\" is {other:?}, expected one of sub, customer_id"),
                );
            }
        };
        Ok(Owner {
            parameter: parameter.into(),
            claim,
        })
    };
    entries.into_iter().map(owned).collect()
}
