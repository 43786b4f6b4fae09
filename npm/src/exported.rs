//! The judge as a JavaScript class. Everything is synchronous: JavaScript does the waiting.

use edgekeep_shared::gate::{
    keys::Freshness,
    refresh::{Attempt, Millis},
};
use wasm_bindgen::prelude::*;

use crate::judge::{self, Waited};

/// Judges the tokens of some issuers.
#[wasm_bindgen]
pub struct Judge(judge::Judge);

#[wasm_bindgen]
impl Judge {
    /// A judge for a JSON array of issuers.
    ///
    /// # Errors
    ///
    /// What is wrong with the options, as a string.
    #[wasm_bindgen(constructor)]
    pub fn new(options: &str) -> Result<Self, JsValue> {
        let judge = judge::Judge::new(options);
        judge
            .map(Self)
            .map_err(|error| JsValue::from_str(&error.to_string()))
    }

    /// What can be asked, as a JSON array.
    pub fn sources(&self) -> String {
        json(&self.0.sources())
    }

    /// The answer about a token, or about the token of an `Authorization` header, as JSON; `waited`
    /// has the bits of [`Waited`].
    pub fn judge(&mut self, text: &str, header: bool, waited: u32, now: f64) -> String {
        let (waited, now) = (Waited(waited), millis(now));
        json(&if header {
            self.0.judge_header(text, waited, now)
        } else {
            self.0.judge(text, waited, now)
        })
    }

    /// Begins to ask a source: how long it may take in milliseconds, 0 where it is not to be asked.
    /// Whoever ends the attempt says when it was begun, which is what `now` is here.
    pub fn begin(&mut self, source: usize, now: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a few thousand milliseconds")]
        let limit = self.0.begin(source, millis(now)).unwrap_or(0) as f64;
        limit
    }

    /// The query that names what is held of a source, if it is worth saying.
    pub fn held(&mut self, source: usize) -> Option<String> {
        self.0.held(source)
    }

    /// Ends an attempt with a delta; what is wrong with it, if anything: then it goes on with the whole
    /// list.
    pub fn follow(
        &mut self,
        source: usize,
        begun_at: f64,
        body: &[u8],
        now: f64,
    ) -> Option<String> {
        let (attempt, now) = (attempt(begun_at), millis(now));
        self.0.follow(source, attempt, body, now).err()
    }

    /// Ends an attempt with a document, with its `Cache-Control` and `Age`, each of which may be empty; what
    /// is wrong with it, if anything.
    pub fn offer(
        &mut self,
        source: usize,
        begun_at: f64,
        body: &[u8],
        cache_control: &str,
        age: &str,
        now: f64,
    ) -> Option<String> {
        let freshness = Freshness::of(cache_control, Some(age));
        let (attempt, now) = (attempt(begun_at), millis(now));
        self.0.offer(source, attempt, body, freshness, now).err()
    }

    /// Ends an attempt with the word that nothing has changed.
    pub fn confirm(&mut self, source: usize, begun_at: f64, now: f64) {
        self.0.confirm(source, attempt(begun_at), millis(now));
    }

    /// Ends an attempt without anything.
    #[wasm_bindgen(js_name = giveUp)]
    pub fn give_up(&mut self, source: usize, begun_at: f64, now: f64) {
        self.0.give_up(source, attempt(begun_at), millis(now));
    }
}

fn attempt(begun_at: f64) -> Attempt {
    Attempt(millis(begun_at))
}

fn millis(now: f64) -> Millis {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "milliseconds until the year 287396"
    )]
    let now = now as Millis;
    now
}

/// Strings, numbers and lists of them are always JSON; what is not would be no verdict, and
/// JavaScript fails on it.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
