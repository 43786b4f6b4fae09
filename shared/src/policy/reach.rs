//! Rules that no request reaches, because several before them, together, match everything they do.
//!
//! That one earlier rule does is a mistake, of which the reader tells. Here is found what an operator
//! should look at: `/v` and `/v/*/**` leave nothing for `/v/**`.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::Policy;
use super::host;
use super::pattern::Pattern;
use super::rule::Rule;

impl Policy {
    /// The rules that are never reached. None of these is; of the others some may not be either.
    pub fn unreached(&self) -> impl Iterator<Item = &Rule> {
        let numbered = self.rules.iter().enumerate();
        numbered
            .filter(|&(index, rule)| is_unreached(rule, &self.rules[..index]))
            .map(|(_, rule)| rule)
    }
}

/// Whether for each of its hosts and methods the rules before `rule` leave it no path.
fn is_unreached(rule: &Rule, earlier: &[Rule]) -> bool {
    each(&rule.hosts).iter().all(|host| {
        each(&rule.methods).iter().all(|method| {
            let patterns: Vec<&Pattern> = earlier
                .iter()
                .filter(|one| takes_host(one, *host) && takes_method(one, *method))
                .map(|one| &one.pattern)
                .collect();
            let deepest = patterns.iter().map(|one| one.depth()).max().unwrap_or(0);
            leave_nothing(&patterns, &rule.pattern, deepest)
        })
    })
}

/// One by one; `None` alone, where all are meant.
fn each(values: &[Box<str>]) -> Vec<Option<&str>> {
    if values.is_empty() {
        return vec![None];
    }
    values.iter().map(|value| Some(&**value)).collect()
}

fn takes_host(rule: &Rule, theirs: Option<&str>) -> bool {
    let covers = |theirs| rule.hosts.iter().any(|ours| host::covers(ours, theirs));
    rule.hosts.is_empty() || theirs.is_some_and(covers)
}

fn takes_method(rule: &Rule, theirs: Option<&str>) -> bool {
    rule.methods.is_empty() || theirs.is_some_and(|theirs| rule.has_method(theirs))
}

/// Whether `patterns` match everything that `pattern` does: one of them, or, of one that ends in `**`, some
/// what it matches with none there, and some what it matches with one segment there or more.
fn leave_nothing(patterns: &[&Pattern], pattern: &Pattern, deepest: usize) -> bool {
    if patterns.iter().any(|one| one.covers(pattern)) {
        return true;
    }
    // Beyond the deepest of them nothing tells one depth from the next.
    pattern.depth() <= deepest
        && pattern.split().is_some_and(|(closed, deeper)| {
            patterns.iter().any(|one| one.covers(&closed))
                && leave_nothing(patterns, &deeper, deepest)
        })
}
