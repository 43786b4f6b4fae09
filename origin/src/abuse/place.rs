//! Where somebody is, coarsely: what a trusted proxy tells of it, else the network.
//!
//! No table of places is shipped: an address is at home in whatever country its provider said last.
//! A proxy at the edge knows better, and is believed as it is about addresses
//! (`server.trusted_proxies`). Degrees are rounded to whole ones, about 100 km, before they are kept.

use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::config::Anomaly;

/// A place, as far as anything is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Two letters (ISO 3166-1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    /// Degrees of latitude and longitude.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    point: Option<(i16, i16)>,
    /// A /16, or of IPv6 a /32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) network: Option<String>,
}

/// A place, and when somebody was there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub(crate) place: Place,
    /// Microseconds since 1970.
    pub(crate) at: i64,
}

impl Place {
    /// The country, two letters (ISO 3166-1), where it is known.
    pub(crate) fn country(&self) -> Option<&str> {
        self.country.as_deref()
    }

    /// What the headers of a trusted proxy tell. A header that comes twice or cannot be read tells
    /// nothing.
    pub(crate) fn told(headers: &HeaderMap, settings: &Anomaly) -> Self {
        let one = |name: &Option<String>| {
            let mut values = headers.get_all(name.as_deref()?).iter();
            match (values.next(), values.next()) {
                (Some(value), None) => value.to_str().ok().map(str::trim),
                _ => None,
            }
        };
        let degrees = |name, most: f64| {
            let degrees: f64 = one(name)?.parse().ok()?;
            #[expect(clippy::cast_possible_truncation, reason = "at most 180")]
            (degrees.is_finite() && degrees.abs() <= most).then(|| degrees.round() as i16)
        };
        let country = one(&settings.country_header)
            .filter(|text| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic()))
            .map(str::to_ascii_uppercase)
            // What Cloudflare says where it does not know.
            .filter(|text| text != "XX");
        let point = degrees(&settings.latitude_header, 90.0)
            .zip(degrees(&settings.longitude_header, 180.0));
        Self {
            country,
            point,
            network: None,
        }
    }

    /// Whether nobody who was at `before` can be here at `now`. Where nothing that both tell can
    /// be compared, anybody can.
    pub(crate) fn is_out_of_reach(
        &self,
        before: &Seen,
        now: Timestamp,
        settings: &Anomaly,
    ) -> bool {
        let seconds = now.since(Timestamp::from_micros(before.at)).as_secs();
        if let (Some(here), Some(there)) = (self.point, before.place.point) {
            let distance = kilometres(here, there);
            #[expect(clippy::cast_precision_loss, reason = "seconds of some weeks")]
            let reach = f64::from(settings.max_kmh) * (seconds as f64) / 3_600.0;
            return distance > f64::from(settings.min_km) && distance > reach;
        }
        if let (Some(here), Some(there)) = (&self.country, &before.place.country) {
            return here != there && seconds < settings.country_seconds;
        }
        match (&self.network, &before.place.network) {
            (Some(here), Some(there)) => here != there && seconds < settings.network_seconds,
            _ => false,
        }
    }
}

/// The distance of two points on a sphere of the Earth's mean radius (haversine).
fn kilometres(a: (i16, i16), b: (i16, i16)) -> f64 {
    let radians = |degrees: i16| f64::from(degrees).to_radians();
    let half_chord = |from: i16, to: i16| ((radians(to) - radians(from)) / 2.0).sin().powi(2);
    let h = half_chord(a.0, b.0) + radians(a.0).cos() * radians(b.0).cos() * half_chord(a.1, b.1);
    2.0 * 6_371.0 * h.clamp(0.0, 1.0).sqrt().asin()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const LIMIT: i64 = 1_000_000_000;

    fn settings() -> Anomaly {
        Anomaly {
            country_header: Some("cf-ipcountry".to_owned()),
            latitude_header: Some("cf-iplatitude".to_owned()),
            longitude_header: Some("cf-iplongitude".to_owned()),
            network_seconds: 60,
            ..Anomaly::default()
        }
    }

    fn place(country: &str, point: Option<(i16, i16)>, network: &str) -> Place {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Place {
            country: text(country),
            point,
            network: text(network),
        }
    }

    #[test]
    fn reach_grows_with_time_and_the_finest_that_both_tell_counts() {
        let zurich = Some((47, 9));
        let (tokyo, bern) = (Some((36, 140)), Some((47, 7)));
        for (there, here, seconds, expected) in [
            (place("CH", zurich, ""), place("JP", tokyo, ""), 3_600, true),
            (
                place("CH", zurich, ""),
                place("JP", tokyo, ""),
                36_000,
                false,
            ),
            // Two degrees are what an address is known to.
            (place("CH", zurich, ""), place("CH", bern, ""), 0, false),
            // Countries count only without degrees.
            (place("CH", zurich, ""), place("DE", bern, ""), 0, false),
            (place("CH", zurich, ""), place("DE", None, ""), 1_799, true),
            (place("CH", None, ""), place("DE", None, ""), 1_800, false),
            (place("CH", None, "a"), place("CH", None, "b"), 0, false),
            (place("CH", None, "a"), place("", None, "b"), 59, true),
            (place("", None, "a"), place("", None, "b"), 60, false),
            (place("", None, "a"), place("", None, "a"), 0, false),
            (place("CH", None, ""), place("", tokyo, ""), 0, false),
            (place("", None, ""), place("", None, ""), 0, false),
        ] {
            let before = Seen {
                place: there.clone(),
                at: LIMIT * 1_000_000,
            };
            let now = Timestamp::from_unix_seconds(LIMIT + seconds);
            let found = here.is_out_of_reach(&before, now, &settings());
            assert_eq!(found, expected, "{there:?} {here:?} {seconds}");
        }
    }

    #[test]
    fn headers_that_cannot_be_read_tell_nothing() {
        for (name, values, expected) in [
            ("cf-ipcountry", &["ch"][..], place("CH", None, "")),
            ("cf-ipcountry", &["XX"], Place::default()),
            ("cf-ipcountry", &["T1"], Place::default()),
            ("cf-ipcountry", &["CH", "JP"], Place::default()),
            ("cf-ipcountry", &["Schweiz"], Place::default()),
            // One of two is no point.
            ("cf-iplatitude", &["47.4"], Place::default()),
            ("x-country", &["CH"], Place::default()),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(name, HeaderValue::from_static(value));
            }
            assert_eq!(Place::told(&headers, &settings()), expected, "{values:?}");
        }
        for (latitude, longitude, point) in [
            ("47.37", "8.54", Some((47, 9))),
            ("-90", "180", Some((-90, 180))),
            ("90.1", "0", None),
            ("0", "-180.5", None),
            ("NaN", "0", None),
            ("inf", "0", None),
            ("", "", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("cf-iplatitude", HeaderValue::from_static(latitude));
            headers.insert("cf-iplongitude", HeaderValue::from_static(longitude));
            let told = Place::told(&headers, &settings());
            assert_eq!(told, place("", point, ""), "{latitude} {longitude}");
        }
    }
}
