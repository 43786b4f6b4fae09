//! The page at `/docs`: the description as one HTML text, without script.

use std::fmt::Write as _;

use serde_json::Value;
use utoipa::openapi::OpenApi;

use crate::html;

const STYLE: &str = include_str!("page.css");

/// What the page may load: its own style, by its hash.
pub(super) fn content_security_policy() -> String {
    html::content_security_policy(STYLE)
}

/// The page.
pub(super) fn render(document: &OpenApi) -> String {
    // As JSON: what a reader of `/openapi.json` sees is what stands here.
    let document = serde_json::to_value(document).unwrap_or_default();
    let mut page = Page(String::with_capacity(64 * 1024));
    page.raw("<!doctype html><html lang=en><meta charset=utf-8>");
    page.raw("<meta name=viewport content=\"width=device-width\"><title>Edgekeep</title><style>");
    page.raw(STYLE);
    page.raw("</style><main><h1>");
    page.text(&document["info"]["title"]);
    page.raw(" <small>");
    page.text(&document["info"]["version"]);
    page.raw("</small></h1><p>");
    page.prose(&document["info"]["description"]);
    page.raw("</p><p><a href=/openapi.json>openapi.json</a></p>");
    for tag in array(&document["tags"]) {
        page.raw("<h2>");
        page.text(&tag["name"]);
        page.raw("</h2><p>");
        page.prose(&tag["description"]);
        page.raw("</p>");
        for (path, item) in members(&document["paths"]) {
            for (method, operation) in members(item) {
                if array(&operation["tags"]).contains(&tag["name"]) {
                    page.operation(method, path, operation);
                }
            }
        }
    }
    page.raw("<h2>Schemas</h2>");
    for (name, schema) in members(&document["components"]["schemas"]) {
        page.schema(name, schema);
    }
    page.raw("</main></html>");
    page.0
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value))
}

struct Page(String);

impl Page {
    fn raw(&mut self, html: &str) {
        self.0.push_str(html);
    }

    fn escaped(&mut self, text: &str) {
        html::escape(text, &mut self.0);
    }

    fn text(&mut self, value: &Value) {
        self.escaped(value.as_str().unwrap_or_default());
    }

    /// Text in which what stands between backticks is code.
    fn prose(&mut self, value: &Value) {
        for (index, part) in value.as_str().unwrap_or_default().split('`').enumerate() {
            let code = index % 2 == 1;
            self.raw(if code { "<code>" } else { "" });
            self.escaped(part);
            self.raw(if code { "</code>" } else { "" });
        }
    }

    fn operation(&mut self, method: &str, path: &str, operation: &Value) {
        self.raw("<details><summary><b>");
        self.escaped(&method.to_ascii_uppercase());
        self.raw("</b> <code>");
        self.escaped(path);
        self.raw("</code> ");
        self.prose(&operation["summary"]);
        self.raw("</summary><p>");
        self.prose(&operation["description"]);
        self.raw("</p>");
        for scheme in array(&operation["security"]) {
            for (name, _) in members(scheme) {
                self.raw("<p>Needs <code>Authorization: Bearer</code> (");
                self.escaped(name);
                self.raw(").</p>");
            }
        }
        self.raw("<table>");
        for parameter in array(&operation["parameters"]) {
            self.raw("<tr><th>");
            self.text(&parameter["name"]);
            self.raw("<td>");
            self.text(&parameter["in"]);
            self.raw("<td>");
            self.prose(&parameter["description"]);
        }
        self.content("body", &Value::Null, &operation["requestBody"]["content"]);
        for (status, response) in members(&operation["responses"]) {
            self.content(status, &response["description"], &response["content"]);
        }
        self.raw("</table></details>");
    }

    fn content(&mut self, name: &str, description: &Value, content: &Value) {
        if content.is_null() && description.is_null() {
            return;
        }
        self.raw("<tr><th>");
        self.escaped(name);
        self.raw("<td>");
        for (media_type, media) in members(content) {
            self.escaped(media_type);
            self.raw(" ");
            self.kind(&media["schema"]);
        }
        self.raw("<td>");
        self.prose(description);
    }

    /// What a schema is, in a word or a link.
    fn kind(&mut self, schema: &Value) {
        if let Some(name) = schema["$ref"].as_str().and_then(|it| it.rsplit('/').next()) {
            self.raw("<a href=\"#");
            self.escaped(name);
            self.raw("\">");
            self.escaped(name);
            self.raw("</a>");
            return;
        }
        for part in ["oneOf", "anyOf", "allOf"] {
            for (index, schema) in array(&schema[part]).iter().enumerate() {
                self.raw(if index > 0 { ", " } else { "" });
                self.kind(schema);
            }
        }
        match &schema["type"] {
            Value::String(name) => self.escaped(name),
            Value::Array(names) => {
                let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
                self.escaped(&names.join(" or "));
            }
            _ => {}
        }
        if schema["items"].is_object() {
            self.raw(" of ");
            self.kind(&schema["items"]);
        }
        if let Some(format) = schema["format"].as_str() {
            self.raw(" (");
            self.escaped(format);
            self.raw(")");
        }
    }

    fn schema(&mut self, name: &str, schema: &Value) {
        self.raw("<h3 id=\"");
        self.escaped(name);
        self.raw("\">");
        self.escaped(name);
        self.raw("</h3><p>");
        self.prose(&schema["description"]);
        self.raw("</p><table>");
        self.properties(schema);
        for part in array(&schema["allOf"]) {
            if part["$ref"].is_string() {
                self.raw("<tr><th>and<td>");
                self.kind(part);
                self.raw("<td>");
            } else {
                self.properties(part);
            }
        }
        self.raw("</table>");
    }

    fn properties(&mut self, schema: &Value) {
        for (name, property) in members(&schema["properties"]) {
            let required = array(&schema["required"]).iter().any(|it| it == name);
            self.raw("<tr><th>");
            self.escaped(name);
            self.raw(if required { "" } else { "<i>?</i>" });
            self.raw("<td>");
            self.kind(property);
            self.raw("<td>");
            self.prose(&property["description"]);
            let values: Vec<&str> = array(&property["enum"])
                .iter()
                .filter_map(Value::as_str)
                .collect();
            if !values.is_empty() {
                let mut list = String::new();
                for value in values {
                    let separator = if list.is_empty() { " " } else { ", " };
                    // Writing to a string cannot fail.
                    let _ = write!(list, "{separator}`{value}`");
                }
                self.prose(&Value::String(list));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_cannot_become_markup() {
        let hostile = serde_json::json!({
            "summary": "<script>alert(1)</script> `a<b`",
            "description": "\"><img src=x>",
        });
        let mut page = Page(String::new());
        page.operation("get", "/<b>", &hostile);
        assert!(!page.0.contains("<script"), "{}", page.0);
        assert!(!page.0.contains("<img"), "{}", page.0);
        assert!(page.0.contains("<code>a&lt;b</code>"), "{}", page.0);
    }
}
