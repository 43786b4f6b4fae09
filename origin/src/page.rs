//! Pages of a list: how many rows an answer has, and where the next page begins.

use crate::error::Error;

/// How many rows a page has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageSize(i64);

impl PageSize {
    /// What was asked for, or `usual`.
    ///
    /// # Errors
    /// `request_invalid` outside 1 to `most`.
    pub(crate) fn checked(asked: Option<i64>, usual: i64, most: i64) -> Result<Self, Error> {
        match asked.unwrap_or(usual) {
            size if (1..=most).contains(&size) => Ok(Self(size)),
            _ => Err(Error::invalid(format!("limit: expected 1 to {most}."))),
        }
    }

    /// For `LIMIT`: the row beyond the page tells whether there is another one.
    pub(crate) const fn rows(self) -> i64 {
        self.0 + 1
    }

    /// Takes the row beyond the page away; the place of the last row when there was one.
    pub(crate) fn cut<T, P>(self, rows: &mut Vec<T>, place: impl FnOnce(&T) -> P) -> Option<P> {
        let size = usize::try_from(self.0).ok()?;
        if rows.len() <= size {
            return None;
        }
        rows.truncate(size);
        rows.last().map(place)
    }
}

#[cfg(test)]
mod tests {
    use super::PageSize;

    #[test]
    fn bounds_what_may_be_asked_for() {
        for (asked, size) in [
            (None, Some(50)),
            (Some(1), Some(1)),
            (Some(100), Some(100)),
            (Some(0), None),
            (Some(-1), None),
            (Some(101), None),
            (Some(i64::MAX), None),
            (Some(i64::MIN), None),
        ] {
            let checked = PageSize::checked(asked, 50, 100).ok();
            assert_eq!(checked.map(|size| size.0), size, "{asked:?}");
        }
    }

    #[test]
    fn names_the_last_row_shown_where_more_follow() {
        let size = PageSize::checked(Some(3), 50, 100).unwrap();
        for (found, shown, next) in [
            (vec![], vec![], None),
            (vec![7, 8, 9], vec![7, 8, 9], None),
            (vec![6, 7, 8, 9], vec![6, 7, 8], Some(8)),
        ] {
            let mut rows = found;
            assert_eq!(size.cut(&mut rows, |row| *row), next);
            assert_eq!(rows, shown);
        }
    }
}
