//! Where what was decided goes: the log, the counts, and a dataset where one is bound.

use std::cell::RefCell;

use js_sys::{Array, Function, Object, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use worker::{Env, console_error, console_log};

use crate::metrics::{Counts, DataPoint, Gauges};
use crate::record::Record;

/// The binding of the Analytics Engine dataset.
const DATASET: &str = "EDGEKEEP_ANALYTICS";

/// Records the requests of an isolate.
pub(crate) struct Recorder {
    counts: RefCell<Counts>,
    dataset: Option<Dataset>,
}

struct Dataset {
    this: JsValue,
    write: Function,
}

impl Recorder {
    pub(crate) fn of(env: &Env) -> Self {
        let dataset = Reflect::get(env, &JsValue::from_str(DATASET))
            .ok()
            .and_then(|this| {
                // `Reflect.get` throws on what is not an object, an unset binding included.
                let write = Reflect::get(&this, &JsValue::from_str("writeDataPoint")).ok()?;
                Some(Dataset {
                    write: write.dyn_into().ok()?,
                    this,
                })
            });
        Self {
            counts: RefCell::default(),
            dataset,
        }
    }

    /// Writes one request down. A dataset that refuses is said, and changes no answer.
    pub(crate) fn record(&self, record: &Record<'_>) {
        console_log!("{}", record.line());
        self.counts.borrow_mut().count(record);
        if let Some(dataset) = &self.dataset
            && let Err(error) = dataset.write(&DataPoint::of(record))
        {
            console_error!("{DATASET}: {error:?}");
        }
    }

    /// The counts so far, as text.
    pub(crate) fn text(&self, gauges: &Gauges) -> String {
        self.counts.borrow().text(gauges)
    }
}

impl Dataset {
    /// Hands the point over; the platform writes it behind the answer.
    fn write(&self, point: &DataPoint<'_>) -> Result<(), JsValue> {
        let event = Object::new();
        let blobs: Array = point
            .blobs
            .iter()
            .map(|blob| JsValue::from_str(blob))
            .collect();
        let doubles: Array = point
            .doubles
            .iter()
            .map(|&double| JsValue::from(double))
            .collect();
        Reflect::set(&event, &"indexes".into(), &Array::of1(&point.index.into()))?;
        Reflect::set(&event, &"blobs".into(), &blobs)?;
        Reflect::set(&event, &"doubles".into(), &doubles)?;
        self.write.call1(&self.this, &event).map(drop)
    }
}
