//! What was measured: samples by group, subject and metric; their medians as a table and as rows.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

/// Subjects that the others of a group are compared with, where they are in it.
const BASES: [&str; 3] = ["noop", "carrier", "jose"];

/// All samples of one thing.
struct Series {
    group: &'static str,
    subject: &'static str,
    metric: String,
    samples: Vec<f64>,
}

/// One line of the JSON file.
#[derive(Serialize)]
struct Row<'a> {
    group: &'a str,
    subject: &'a str,
    metric: &'a str,
    value: f64,
}

/// Everything that was measured in this run, in the order in which it first appeared.
#[derive(Default)]
pub(crate) struct Report {
    series: Vec<Series>,
}

impl Report {
    /// Adds one sample.
    pub(crate) fn add(
        &mut self,
        group: &'static str,
        subject: &'static str,
        metric: &str,
        sample: f64,
    ) {
        let known = self.series.iter_mut().find(|series| {
            series.group == group && series.subject == subject && series.metric == metric
        });
        match known {
            Some(series) => series.samples.push(sample),
            None => self.series.push(Series {
                group,
                subject,
                metric: metric.to_owned(),
                samples: vec![sample],
            }),
        }
    }

    /// The table: medians, the range of the samples, and ratios to the bases of the group.
    pub(crate) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let mut seen: Vec<(&str, &str)> = Vec::new();
        for series in &self.series {
            let heading = (series.group, series.metric.as_str());
            if seen.contains(&heading) {
                continue;
            }
            seen.push(heading);
            self.print_metric(out, series.group, &series.metric)?;
        }
        Ok(())
    }

    fn print_metric(&self, out: &mut impl Write, group: &str, metric: &str) -> io::Result<()> {
        let all: Vec<&Series> = self
            .series
            .iter()
            .filter(|series| series.group == group && series.metric == metric)
            .collect();
        let bases: Vec<&Series> = BASES
            .into_iter()
            .filter_map(|base| all.iter().copied().find(|series| series.subject == base))
            .filter(|_| all.len() > 1)
            .collect();
        let title = format!("{group} {metric}");
        write!(
            out,
            "\n{title:<34} {:>12} {:>12} {:>12}",
            "median", "lowest", "highest"
        )?;
        for base in &bases {
            write!(out, " {:>9}", format!("/ {}", base.subject))?;
        }
        writeln!(out)?;
        for series in all {
            let value = median(&series.samples);
            let lowest = series.samples.iter().copied().fold(f64::INFINITY, f64::min);
            let highest = series
                .samples
                .iter()
                .copied()
                .fold(f64::NEG_INFINITY, f64::max);
            let [value_text, lowest, highest] = [value, lowest, highest].map(number);
            write!(
                out,
                "  {:<32} {value_text:>12} {lowest:>12} {highest:>12}",
                series.subject
            )?;
            for base in &bases {
                write!(out, " {:>9.2}", ratio(&series.samples, &base.samples))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    /// Writes the medians to `path` as a JSON array of rows.
    pub(crate) fn write_json(&self, path: &Path) -> anyhow::Result<()> {
        let rows: Vec<Row<'_>> = self
            .series
            .iter()
            .map(|series| Row {
                group: series.group,
                subject: series.subject,
                metric: &series.metric,
                value: (median(&series.samples) * 1_000.0).round() / 1_000.0,
            })
            .collect();
        std::fs::write(path, serde_json::to_string_pretty(&rows)?)?;
        Ok(())
    }
}

fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.0}")
    }
}

/// How many times `base` it is: the median of the ratios within the rounds, in which both stood side by
/// side, so that it matters less what else the machine did meanwhile. Where the rounds are not the same
/// ones, the ratio of the medians.
fn ratio(samples: &[f64], base: &[f64]) -> f64 {
    if samples.len() != base.len() {
        return median(samples) / median(base);
    }
    let ratios: Vec<f64> = samples.iter().zip(base).map(|(a, b)| a / b).collect();
    median(&ratios)
}

/// The middle of `samples`; not a number where there are none.
pub(crate) fn median(samples: &[f64]) -> f64 {
    percentile(samples, 50)
}

/// The sample below or at which `percent` of all `samples` lie.
pub(crate) fn percentile(samples: &[f64], percent: usize) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_same_round() {
        let near = |value: f64, expected: f64| (value - expected).abs() < 1e-9;
        // Twice as slow a machine in the second round.
        assert!(near(ratio(&[50.0, 25.0, 60.0], &[100.0, 50.0, 100.0]), 0.5));
        assert!(near(ratio(&[50.0], &[100.0, 200.0, 300.0]), 0.25));
        assert!(ratio(&[], &[]).is_nan());
    }

    #[test]
    fn percentiles_are_samples() {
        let samples: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert!((median(&samples) - 100.0).abs() < f64::EPSILON);
        assert!((percentile(&samples, 99) - 198.0).abs() < f64::EPSILON);
        assert!((percentile(&[7.0], 99) - 7.0).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn prints_ratios_to_the_bases_of_a_group() {
        let mut report = Report::default();
        for (subject, sample) in [("noop", 200.0), ("edgekeep", 100.0), ("edgekeep", 100.0)] {
            report.add("edge", subject, "rps", sample);
        }
        let mut out = Vec::new();
        report.print(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let line = text.lines().find(|line| line.contains("edgekeep")).unwrap();
        assert!(line.ends_with("0.50"), "{text}");
        assert!(!text.contains("jose"), "{text}");
    }
}
