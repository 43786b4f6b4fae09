//! Whether two sets of samples tell themselves apart.

/// The percentile of all samples from which on they are left out of [`Difference::cropped_t`]: what
/// else the machine does shows in the slowest tenth, and hides small differences.
const CROP_AT: usize = 90;

/// How `known` and `unknown` differ.
pub(crate) struct Difference {
    /// Median of the known less that of the unknown.
    pub(crate) gap: f64,
    /// The gap as a share of the median of the unknown.
    pub(crate) relative_gap: f64,
    /// Welch's t over all samples. Beyond ±4.5 (by chance in less than one of 100,000 runs) there is a difference.
    pub(crate) t: f64,
    /// Welch's t over samples below the 90th percentile of all: it sees smaller differences.
    pub(crate) cropped_t: f64,
}

impl Difference {
    /// The difference between two sets of samples.
    pub(crate) fn between(known: &[f64], unknown: &[f64]) -> Self {
        let all: Vec<f64> = known.iter().chain(unknown).copied().collect();
        let bound = crate::report::percentile(&all, CROP_AT);
        let below = |samples: &[f64]| -> Vec<f64> {
            samples
                .iter()
                .copied()
                .filter(|&sample| sample < bound)
                .collect()
        };
        let (median_known, median_unknown) =
            (crate::report::median(known), crate::report::median(unknown));
        Self {
            gap: median_known - median_unknown,
            relative_gap: (median_known - median_unknown) / median_unknown,
            t: welch(known, unknown),
            cropped_t: welch(&below(known), &below(unknown)),
        }
    }
}

/// Welch's t of two sets of samples.
fn welch(one: &[f64], other: &[f64]) -> f64 {
    let ((mean, error), (other_mean, other_error)) = (mean_and_error(one), mean_and_error(other));
    (mean - other_mean) / (error + other_error).sqrt()
}

/// The mean of samples, and the square of its standard error.
fn mean_and_error(samples: &[f64]) -> (f64, f64) {
    let count = f64::from(u32::try_from(samples.len()).unwrap_or(u32::MAX));
    let mean = samples.iter().sum::<f64>() / count;
    let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
    (mean, squares / (count - 1.0) / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t_is_welchs() {
        // Means 3 and 6, variances 2.5 and 10, five each: -3 / sqrt(2.5).
        let t = welch(&[1.0, 2.0, 3.0, 4.0, 5.0], &[2.0, 4.0, 6.0, 8.0, 10.0]);
        assert!((t + 3.0 / 2.5_f64.sqrt()).abs() < 1e-12, "{t}");
    }

    #[test]
    fn sees_a_shift_and_no_other() {
        let samples: Vec<f64> = (0..1_000).map(|n| f64::from(n * 7 % 1_000)).collect();
        let same = Difference::between(&samples, &samples);
        assert!(same.t.abs() < 1e-9 && same.cropped_t.abs() < 1e-9 && same.gap.abs() < 1e-9);
        let later: Vec<f64> = samples.iter().map(|sample| sample + 200.0).collect();
        let shifted = Difference::between(&later, &samples);
        assert!(shifted.t > 4.5 && shifted.cropped_t > 4.5);
        assert!((shifted.gap - 200.0).abs() < 1e-9);
    }
}
