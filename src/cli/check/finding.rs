//! What was found about one thing, and how it is written: a table for people, JSON for programs.

use std::fmt;

use serde::Serialize;

/// What was found about a pod, a template of pods, a namespace or the webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// Such as `Deployment shop/web`.
    pub(super) subject: String,
    /// Where it was read, for what comes from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) place: Option<String>,
    /// How traffic reaches the proxy, for a pod that has it or would get it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) capture: Option<&'static str>,
    pub(super) verdict: Verdict,
    /// The rule that led to the verdict, as a sentence.
    pub(super) rule: String,
    /// What has to be mended.
    pub(super) problems: Vec<String>,
    /// What its owner should know.
    pub(super) warnings: Vec<String>,
}

/// What becomes, or has become, of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// It would get the proxy.
    Inject,
    /// It stays as it is.
    Skip,
    /// It would be refused.
    Deny,
    /// It cannot be read.
    Unreadable,
    /// It has the proxy, the one that it would get today.
    Current,
    /// It has a proxy that is not the one it would get today.
    Stale,
    /// It should have the proxy and has none.
    Missing,
    /// It is as it should be.
    Right,
    /// It is not as it should be.
    Wrong,
}

impl Verdict {
    const fn label(self) -> &'static str {
        match self {
            Self::Inject => "inject",
            Self::Skip => "skip",
            Self::Deny => "deny",
            Self::Unreadable => "unreadable",
            Self::Current => "current",
            Self::Stale => "stale",
            Self::Missing => "missing",
            Self::Right => "right",
            Self::Wrong => "wrong",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// Writes findings for people: a line each, and below it what is wrong.
pub(super) fn table(findings: &[Finding]) -> String {
    let rows = findings
        .iter()
        .map(|finding| finding.subject.chars().count());
    let width = rows.max().unwrap_or_default().max("SUBJECT".len());
    let mut text = format!("{:width$}  {:10}  RULE\n", "SUBJECT", "VERDICT");
    for finding in findings {
        let Finding {
            subject,
            verdict,
            rule,
            capture,
            ..
        } = finding;
        let capture = capture.map_or_else(String::new, |word| format!("; capture {word}"));
        text.push_str(&format!(
            "{subject:width$}  {verdict:10}  {rule}{capture}\n"
        ));
        for problem in &finding.problems {
            text.push_str(&format!("  problem: {problem}\n"));
        }
        for warning in &finding.warnings {
            text.push_str(&format!("  warning: {warning}\n"));
        }
    }
    text
}

/// Writes findings for programs.
pub(super) fn json(findings: &[Finding]) -> String {
    #[derive(Serialize)]
    struct Report<'f> {
        findings: &'f [Finding],
    }
    let report = serde_json::to_string_pretty(&Report { findings });
    report.expect("findings hold only texts and lists") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding() -> Finding {
        Finding {
            subject: "Deployment shop/web".to_owned(),
            place: None,
            capture: None,
            verdict: Verdict::Deny,
            rule: "what it asks for is wrong".to_owned(),
            problems: vec!["port: \"80a\" is not a port".to_owned()],
            warnings: Vec::new(),
        }
    }

    #[test]
    fn a_table_has_a_line_for_each_and_says_below_what_is_wrong() {
        assert_eq!(
            table(&[finding()]),
            "SUBJECT              VERDICT     RULE\n\
             Deployment shop/web  deny        what it asks for is wrong\n  \
             problem: port: \"80a\" is not a port\n"
        );
    }

    #[test]
    fn how_traffic_reaches_the_proxy_stands_behind_the_rule() {
        let finding = Finding {
            verdict: Verdict::Inject,
            rule: "the pod asks".to_owned(),
            capture: Some("redirect"),
            problems: Vec::new(),
            ..finding()
        };
        assert_eq!(
            table(&[finding]),
            "SUBJECT              VERDICT     RULE\n\
             Deployment shop/web  inject      the pod asks; capture redirect\n"
        );
    }

    #[test]
    fn json_holds_the_same() {
        let report: serde_json::Value = serde_json::from_str(&json(&[finding()])).unwrap();
        assert_eq!(report["findings"][0]["verdict"], "deny");
        assert_eq!(
            report["findings"][0]["problems"][0],
            "port: \"80a\" is not a port"
        );
    }
}
