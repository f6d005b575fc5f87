//! `mtls-proxy redirect`: what it prints, loads and removes, and what it says when it cannot.

use std::process::Output;

use serde_json::json;

use crate::net::{Families, Net, Pod};
use crate::programs::{APP, Stage, both};

fn ruleset(pod: &Pod) -> String {
    let output = pod
        .command(0, "nft")
        .args(["list", "ruleset"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", both(&output));
    both(&output)
}

fn written(stage: &Stage, config: &serde_json::Value) -> String {
    let file = stage.path("rules.json");
    std::fs::write(&file, config.to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}

fn config() -> serde_json::Value {
    json!({"redirect": {"proxyUid": 15100, "outbound": {"excludePorts": [22]}},
        "inbound": [{"port": 8443, "targetPort": 8080}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_loaded_again_and_removed_again_at_will() {
    let Some(mut net) = Net::new(Families::Both) else {
        return;
    };
    let (stage, pod) = (Stage::new(&[]), net.pod("one", ""));
    let other = "table ip other {\n chain c { type nat hook output priority 0; }\n}\n";
    let file = stage.path("other.nft");
    std::fs::write(&file, other).unwrap();
    let loaded = pod.command(0, "nft").arg("-f").arg(&file).output().unwrap();
    assert!(loaded.status.success(), "{}", both(&loaded));
    let said = stage.redirect(&pod, &config());
    assert!(
        said.contains("rules loaded: table inet mtls_proxy\n"),
        "{said}"
    );
    assert!(
        said.contains("IPv4: a connection to 192.0.2.2:80 is redirected\n"),
        "{said}"
    );
    assert!(
        said.contains("IPv6: a connection to [2001:db8::2]:80 is redirected\n"),
        "{said}"
    );
    let once = ruleset(&pod);
    assert!(
        once.contains("tcp dport { 8080, 8443 } redirect to :15006"),
        "{once}"
    );
    stage.redirect(&pod, &config());
    assert_eq!(ruleset(&pod), once);
    for _ in 0..2 {
        let removed = stage.program(&pod, 0, &["redirect", "--remove"]);
        assert!(removed.status.success(), "{}", both(&removed));
        let left = ruleset(&pod);
        assert!(
            !left.contains("mtls_proxy") && left.contains("table ip other"),
            "{left}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_is_what_is_loaded() {
    let Some(mut net) = Net::new(Families::Both) else {
        return;
    };
    let (stage, pod) = (Stage::new(&[]), net.pod("one", ""));
    let file = written(&stage, &config());
    let printed = stage.program(&pod, APP, &["redirect", "--print", "--config", &file]);
    assert!(printed.status.success(), "{}", both(&printed));
    assert_eq!(ruleset(&pod), "");
    let script = stage.path("printed.nft");
    std::fs::write(&script, &printed.stdout).unwrap();
    let loaded = pod
        .command(0, "nft")
        .arg("-f")
        .arg(&script)
        .output()
        .unwrap();
    assert!(loaded.status.success(), "{}", both(&loaded));
    let by_hand = ruleset(&pod);
    stage.redirect(&pod, &config());
    assert_eq!(ruleset(&pod), by_hand);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named() {
    let Some(mut net) = Net::new(Families::Both) else {
        return;
    };
    let (stage, pod) = (Stage::new(&[]), net.pod("one", ""));
    let file = written(&stage, &config());
    let apply = ["redirect", "--apply", "--config", &file];
    let ordinary = stage.program(&pod, APP, &apply);
    expect(&ordinary, 1, "the capability NET_ADMIN is missing");
    let program = stage.path("mtls-proxy");
    let mut nowhere = pod.command(0, "unshare");
    nowhere.args([
        "--mount",
        "sh",
        "-c",
        "mount -t tmpfs none /usr/sbin; mount -t tmpfs none /sbin; PATH=/nowhere; exec \"$@\"",
        "sh",
    ]);
    let without = nowhere.arg(&program).args(apply).output().unwrap();
    expect(&without, 1, "the program nft is missing");
    let bare = written(&stage, &json!({"egress": []}));
    let bare = stage.program(&pod, 0, &["redirect", "--apply", "--config", &bare]);
    expect(
        &bare,
        64,
        "redirect: is required, such as redirect: {proxyUid: 15100}",
    );
    let unsure = stage.program(&pod, 0, &["redirect", "--config", &file]);
    expect(&unsure, 64, "--print|--apply|--remove");
    assert_eq!(ruleset(&pod), "");
}

fn expect(output: &Output, code: i32, text: &str) {
    let said = both(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(text), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_family_without_a_route_is_not_tried() {
    let Some(mut net) = Net::new(Families::V6) else {
        return;
    };
    let (stage, pod) = (Stage::new(&[]), net.pod("one", ""));
    let said = stage.redirect(&pod, &config());
    assert!(said.contains("IPv4: not tried: no route"), "{said}");
    assert!(
        said.contains("IPv6: a connection to [2001:db8::2]:80 is redirected"),
        "{said}"
    );
}
