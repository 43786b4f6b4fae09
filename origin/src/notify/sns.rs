//! SMS by Amazon SNS: `Publish` to a number, signed with Signature Version 4 by AWS's own crate.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};

use super::client::{self, Failure};
use super::transport::Attempt;
use crate::clock::Timestamp;
use crate::config::Sns;
use crate::vault::Secret;

const FORM: &str = "application/x-www-form-urlencoded";

/// Longest name of an error that is logged: AWS's are words.
const MAX_NAME: usize = 64;

pub(super) struct Publisher {
    client: Client,
    url: Url,
    region: String,
    sender_id: Option<String>,
    credentials: Credentials,
}

impl Publisher {
    pub(super) fn new(settings: &Sns) -> Result<Self, String> {
        let endpoint = settings.endpoint.clone().unwrap_or_else(|| {
            let domain = if settings.region.starts_with("cn-") {
                "amazonaws.com.cn"
            } else {
                "amazonaws.com"
            };
            format!("https://sns.{}.{domain}", settings.region)
        });
        let url = Url::parse(&endpoint).map_err(|_| "notify.sms: expected endpoint".to_owned())?;
        let secret = settings
            .secret_access_key
            .as_ref()
            .ok_or("notify.sms: expected secret_access_key")?;
        Ok(Self {
            client: client::client(&endpoint)?,
            url,
            region: settings.region.clone(),
            sender_id: settings.sender_id.clone(),
            credentials: Credentials::new(
                &settings.access_key_id,
                secret.expose(),
                settings
                    .session_token
                    .as_ref()
                    .map(|token| Secret::expose(token).to_owned()),
                None,
                "edgekeep",
            ),
        })
    }

    pub(super) async fn send(&self, attempt: Attempt<'_>) -> Result<(), Failure> {
        let message = attempt.message;
        let mut fields = vec![
            ("Action", "Publish"),
            ("Version", "2010-03-31"),
            ("PhoneNumber", &message.to),
            ("Message", &message.text),
            // Codes before advertising: the reliable route, not the cheap one.
            ("MessageAttributes.entry.1.Name", "AWS.SNS.SMS.SMSType"),
            ("MessageAttributes.entry.1.Value.DataType", "String"),
            (
                "MessageAttributes.entry.1.Value.StringValue",
                "Transactional",
            ),
        ];
        if let Some(sender_id) = &self.sender_id {
            fields.extend([
                ("MessageAttributes.entry.2.Name", "AWS.SNS.SMS.SenderID"),
                ("MessageAttributes.entry.2.Value.DataType", "String"),
                ("MessageAttributes.entry.2.Value.StringValue", sender_id),
            ]);
        }
        let body = client::form(fields);
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, FORM);
        for (name, value) in self.signature(&body, attempt.now)? {
            request = request.header(name, value);
        }
        let answer = client::ask(request.body(body)).await?;
        if answer.status.is_success() {
            return Ok(());
        }
        let name = error_name(&answer.body);
        Err(match name {
            // Said with 400, unlike other providers.
            Some(
                name
                @ ("Throttling" | "ThrottlingException" | "Throttled" | "RequestLimitExceeded"),
            ) => Failure::transient(format!("provider answered {}, {name}", answer.status)),
            name => answer.failure(name),
        })
    }

    /// The headers that sign a request with this body at this time.
    fn signature(
        &self,
        body: &str,
        now: Timestamp,
    ) -> Result<Vec<(&'static str, String)>, Failure> {
        let failed = |_| Failure::fatal("the request could not be signed");
        let micros = u64::try_from(now.micros()).unwrap_or(0);
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("sns")
            .time(UNIX_EPOCH + Duration::from_micros(micros))
            .settings(SigningSettings::default())
            .build()
            .map_err(|_| Failure::fatal("the request could not be signed"))?
            .into();
        let request = SignableRequest::new(
            "POST",
            self.url.as_str(),
            [("content-type", FORM)].into_iter(),
            SignableBody::Bytes(body.as_bytes()),
        )
        .map_err(failed)?;
        let (instructions, _) = sign(request, &params).map_err(failed)?.into_parts();
        let (headers, _) = instructions.into_parts();
        Ok(headers
            .into_iter()
            .map(|header| (header.name(), header.value().to_owned()))
            .collect())
    }
}

/// What stands between `<Code>` and `</Code>`: a word, or it is not said.
fn error_name(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("<Code>")?;
    let (name, _) = rest.split_once("</Code>")?;
    let plain = (1..=MAX_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    plain.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_named_only_by_a_word() {
        for (body, name) in [
            (
                "<ErrorResponse><Error><Code>Throttling</Code>",
                Some("Throttling"),
            ),
            (
                "<Code>InvalidParameter</Code><Message>+41791234567</Message>",
                Some("InvalidParameter"),
            ),
            ("<Code>+41791234567 is wrong</Code>", None),
            ("<Code></Code>", None),
            ("<Code>x", None),
            ("", None),
        ] {
            assert_eq!(error_name(body.as_bytes()), name, "{body}");
        }
    }
}
