//! Istio's `proxy.istio.io/config`: the two fields of it that mean something here. In: YAML text.
//! Out: those fields, and a warning for each other one.

use mtls_proxy::config::{Mistakes, Span, parse_document};
use serde_json::Value;

use super::schema::step;

/// The annotation's key.
pub(super) const KEY: &str = "proxy.istio.io/config";

/// What the annotation says.
#[derive(Default)]
pub(super) struct IstioConfig {
    pub(super) hold_application: Option<bool>,
    pub(super) drain: Option<Span>,
}

impl IstioConfig {
    pub(super) fn read(text: &str, mistakes: &mut Mistakes, warnings: &mut Vec<String>) -> Self {
        let mut config = Self::default();
        let object = match parse_document(text, KEY, mistakes) {
            Some(Value::Object(object)) => object,
            Some(Value::Null) | None => return config,
            Some(_) => {
                mistakes.add(KEY, None, "is not an object of fields");
                return config;
            }
        };
        for (field, value) in object {
            let path = step(KEY, &field);
            match (field.as_str(), &value) {
                ("holdApplicationUntilProxyStarts", Value::Bool(hold)) => {
                    config.hold_application = Some(*hold);
                }
                ("holdApplicationUntilProxyStarts", _) => {
                    mistakes.add(&path, Some(&value.to_string()), "is not true or false");
                }
                ("terminationDrainDuration", Value::String(text)) => match text.parse() {
                    Ok(drain) => config.drain = Some(drain),
                    Err(why) => mistakes.add(&path, Some(text), why),
                },
                ("terminationDrainDuration", _) => {
                    let reason = "is not a duration such as 250ms, 5s, 1m30s or 1h";
                    mistakes.add(&path, Some(&value.to_string()), reason);
                }
                _ => warnings.push(format!("{path} is not supported and has no effect")),
            }
        }
        config
    }
}
