//! Rules and names, a line each: nothing panics, and a rule without stars lets in exactly its own name.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mtls_proxy::config::{AllowRule, Host, SubjectAltName};
use mtls_proxy::identity::ClientIdentity;

fuzz_target!(|input: &str| {
    let Some((rule, name)) = input.split_once('\n') else {
        return;
    };
    if let Ok(host) = name.parse::<Host>() {
        assert_eq!(host.to_string().parse(), Ok(host.clone()));
        assert!(host.name().is_none_or(|name| host.matches(name)));
    }
    if let Ok(name) = name.parse::<SubjectAltName>() {
        assert_eq!(name.to_string().parse(), Ok(name));
    }
    let Ok(rule) = rule.parse::<AllowRule>() else {
        return;
    };
    let identity = ClientIdentity {
        subject: String::new(),
        issuer: String::new(),
        serial: String::new(),
        not_after: 0,
        uris: vec![name.to_owned()],
        dns_names: vec![name.to_owned()],
        common_name: Some(name.to_owned()),
        hash: String::new(),
    };
    let text = rule.to_string();
    assert_eq!(text.parse().as_ref(), Ok(&rule));
    let allowed = identity.is_allowed(std::slice::from_ref(&rule));
    if !text.contains('*') {
        // Of what kind the rule is says its prefix; without one it is for URIs.
        let own = ["dns:", "cn:", "uri:"]
            .iter()
            .find_map(|kind| text.strip_prefix(kind))
            .unwrap_or(&text);
        let own = own == name;
        assert_eq!(allowed, own, "{text} {name}");
    }
});
