//! SMS by Amazon SNS: `Publish` to a number, signed with Signature Version 4.

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};
use zeroize::Zeroizing;

use super::client::{self, Failure};
use super::transport::Attempt;
use crate::aws::{self, Credentials, Request, Scope};
use crate::clock::Timestamp;
use crate::config::Sns;

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
            credentials: Credentials {
                access_key_id: settings.access_key_id.clone(),
                secret_access_key: secret.clone(),
                session_token: settings.session_token.clone(),
            },
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
            request = request.header(name, value.as_str());
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
    ) -> Result<Vec<(&'static str, Zeroizing<String>)>, Failure> {
        let request = Request {
            method: "POST",
            host: self.url.authority(),
            path: self.url.path(),
            query: "",
            headers: &[("content-type", FORM)],
            body: body.as_bytes(),
        };
        let scope = Scope {
            region: &self.region,
            service: "sns",
        };
        aws::sign(&request, scope, &self.credentials, now)
            .map_err(|_| Failure::fatal("the request could not be signed"))
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
