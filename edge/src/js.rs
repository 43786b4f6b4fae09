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
use worker::{
    Delay,
    web_sys::{self, ReadableStreamDefaultReader},
};

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

/// A body that is being read. Its sender is told to stop as soon as nobody reads on.
struct Reading {
    reader: ReadableStreamDefaultReader,
    is_over: bool,
}

impl Reading {
    fn of(response: &web_sys::Response) -> Option<Self> {
        Some(Self {
            reader: response.body()?.get_reader().dyn_into().ok()?,
            is_over: false,
        })
    }

    /// The next bytes, or nothing after the last.
    async fn next(&mut self) -> Result<Option<Uint8Array>, JsValue> {
        let read = JsFuture::from(self.reader.read()).await;
        // After an error there is nothing left to stop.
        self.is_over = read.is_err();
        let read = read?;
        self.is_over = Reflect::get(&read, &JsValue::from_str("done"))?.is_truthy();
        if self.is_over {
            return Ok(None);
        }
        let bytes = Reflect::get(&read, &JsValue::from_str("value"))?;
        bytes.dyn_into().map(Some)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if !self.is_over {
            let _ = self.reader.cancel();
        }
    }
}

/// The body of `response`, if it has at most `limit` bytes. What has more is not read to its end: a
/// source that does not say its length, or whose bytes are inflated on the way, would have all of it
/// in memory first.
pub(crate) async fn read_body(response: &web_sys::Response, limit: usize) -> Option<Vec<u8>> {
    if response.body().is_none() {
        return Some(Vec::new());
    }
    let mut reading = Reading::of(response)?;
    let announced = response.headers().get("content-length").ok().flatten();
    let announced = announced.and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return None;
    }
    let mut body = Vec::with_capacity(announced.unwrap_or_default());
    while let Some(bytes) = reading.next().await.ok()? {
        let start = body.len();
        let end = start + bytes.length() as usize;
        if end > limit {
            return None;
        }
        body.resize(end, 0);
        bytes.copy_to(body.get_mut(start..)?);
    }
    Some(body)
}

/// Tells the sender of `response` to stop: nobody wants its body, which would go on coming.
pub(crate) fn discard(response: &web_sys::Response) {
    if let Some(body) = response.body() {
        let _ = body.cancel();
    }
}

/// Has `shim.js` told when this instance has ended, by whatever. It makes the next one, and nobody else:
/// by the default the bindings would do so too, behind its back and half-way through a call, whose
/// arguments lie in the memory of the old one.
pub(crate) fn end_openly() {
    wasm_bindgen::handler::set_on_abort(|| {
        let name = JsValue::from_str("__worker_init_state");
        if let Ok(state) = Reflect::get(&js_sys::global(), &name) {
            // Whatever fails now is noticed at the next call.
            let _ = Reflect::set(&state, &JsValue::from_str("criticalError"), &JsValue::TRUE);
        }
    });
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
