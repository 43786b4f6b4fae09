//! The few things that are asked of the JavaScript side.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use js_sys::{Function, Promise, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use worker::{Delay, web_sys};

/// Milliseconds since 1970. In a worker this is the time of the last I/O.
pub(crate) fn now() -> i64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "milliseconds until the year 287396"
    )]
    let now = js_sys::Date::now() as i64;
    now
}

/// `work`, unless it takes longer than `limit`.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut timer = pin!(Delay::from(limit));
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => timer.as_mut().poll(context).map(|()| None),
    })
    .await
}

/// Something with a `fetch` method: the global scope, or a service binding.
#[derive(Clone, Debug)]
pub(crate) struct Fetcher {
    this: JsValue,
    fetch: Function,
}

impl Fetcher {
    /// The network.
    pub(crate) fn network() -> Option<Self> {
        Self::of(js_sys::global().into())
    }

    /// The service binding called `name`, if there is one.
    pub(crate) fn binding(env: &worker::Env, name: &str) -> Option<Self> {
        Self::of(Reflect::get(env, &JsValue::from_str(name)).ok()?)
    }

    fn of(this: JsValue) -> Option<Self> {
        // `Reflect.get` throws on what is not an object, an unset binding included.
        let fetch = Reflect::get(&this, &JsValue::from_str("fetch"))
            .ok()?
            .dyn_into()
            .ok()?;
        Some(Self { this, fetch })
    }

    /// Sends `request`.
    pub(crate) async fn send(
        &self,
        request: &web_sys::Request,
    ) -> Result<web_sys::Response, JsValue> {
        let promise: Promise = self.fetch.call1(&self.this, request)?.dyn_into()?;
        JsFuture::from(promise).await?.dyn_into()
    }
}

/// Whether the binding called `name` has this method.
pub(crate) fn has_method(env: &worker::Env, name: &str, method: &str) -> bool {
    // `Reflect.get` throws on what is not an object, an unset binding included.
    let binding = Reflect::get(env, &JsValue::from_str(name));
    let method = binding.and_then(|this| Reflect::get(&this, &JsValue::from_str(method)));
    method.is_ok_and(|method| method.is_function())
}

/// The body of `response`, if it has at most `limit` bytes.
pub(crate) async fn read_body(response: &web_sys::Response, limit: usize) -> Option<Vec<u8>> {
    let announced = response.headers().get("content-length").ok().flatten();
    if announced
        .and_then(|length| length.parse::<u64>().ok())
        .is_some_and(|n| n > limit as u64)
    {
        return None;
    }
    let buffer = JsFuture::from(response.array_buffer().ok()?).await.ok()?;
    let bytes = Uint8Array::new(&buffer);
    (bytes.length() as usize <= limit).then(|| bytes.to_vec())
}

/// Lets the platform do something else before more is computed: a worker has one thread.
pub(crate) async fn pause() {
    Delay::from(Duration::ZERO).await;
}

/// A random correlation id.
pub(crate) fn random_id() -> String {
    let crypto = Reflect::get(&js_sys::global(), &JsValue::from_str("crypto"));
    let id = crypto.and_then(|crypto| {
        let function: Function =
            Reflect::get(&crypto, &JsValue::from_str("randomUUID"))?.dyn_into()?;
        function.call0(&crypto)
    });
    // An id is for finding lines in a log; without one they are found by time.
    id.ok()
        .and_then(|id| id.as_string())
        .unwrap_or_else(|| now().to_string())
}
