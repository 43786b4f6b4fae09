//! Asking the platform's rate limiter.

use std::time::Duration;

use edgekeep_shared::{
    error::Rejection,
    gate::Forward,
    policy::{LimitedBy, RateLimit},
};
use js_sys::{Function, Object, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use worker::console_error;

use crate::{incoming::Incoming, js::within};

/// How long the limiter may take. The platform's counts where the request is and answers in less
/// than a millisecond.
const DEADLINE: Duration = Duration::from_secs(1);

/// The bindings of the gate, of which policies name some.
pub(crate) struct Limiters(JsValue);

impl Limiters {
    pub(crate) fn of(env: &worker::Env) -> Self {
        let env: &JsValue = env.as_ref();
        Self(env.clone())
    }

    /// Why a request that may pass otherwise may not pass now.
    ///
    /// A limit that cannot be asked about is no limit: without the binding, an answer, or an address to
    /// count under, the request is refused.
    pub(crate) async fn refuse(
        &self,
        request: &Incoming<'_>,
        forward: &Forward<'_, '_>,
    ) -> Option<Rejection> {
        let limit = forward.rule.rate_limit()?;
        let claims = forward.token.as_ref().map(|token| token.claims());
        let field = match &limit.by {
            LimitedBy::Subject => None,
            LimitedBy::Address { header } => request.header(&header.to_ascii_lowercase()),
        };
        let Some(key) = limit.key(claims, field) else {
            return Some(Rejection::RequestInvalid);
        };
        let no_answer = || Err(JsValue::from_str("no answer"));
        match within(DEADLINE, self.ask(limit, &key))
            .await
            .unwrap_or_else(no_answer)
        {
            Ok(true) => None,
            Ok(false) => Some(Rejection::RateLimited),
            Err(why) => {
                console_error!(
                    "line {} of the policy wants the rate limiter {}: {}",
                    forward.rule.line(),
                    limit.binding,
                    why.as_string().unwrap_or_else(|| format!("{why:?}"))
                );
                Some(Rejection::PolicyUnavailable)
            }
        }
    }

    /// Whether `key` is within the limit: `(await env.BINDING.limit({ key })).success`.
    async fn ask(&self, limit: &RateLimit, key: &str) -> Result<bool, JsValue> {
        let binding = Reflect::get(&self.0, &JsValue::from_str(&limit.binding))?;
        // `Reflect.get` throws on what is not an object, an unset binding included.
        let method: Function = Reflect::get(&binding, &JsValue::from_str("limit"))
            .and_then(JsCast::dyn_into)
            .map_err(|_| {
                JsValue::from_str("what is bound to the gate by that name is none, or nothing is")
            })?;
        let options = Object::new();
        Reflect::set(&options, &"key".into(), &JsValue::from_str(key))?;
        let promise: Promise = method.call1(&binding, &options)?.dyn_into()?;
        let outcome = JsFuture::from(promise).await?;
        let success = Reflect::get(&outcome, &JsValue::from_str("success"))?;
        success.as_bool().ok_or(success)
    }
}
