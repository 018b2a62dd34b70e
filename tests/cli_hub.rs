//! `sv` with models of the hub, served on this machine.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test stops where its scene cannot be set")]

use std::process::{Command, Output};

use common::hub::HubServer;
use common::model::{tiny_model, voice};
use serde_json::Value;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stdout)))
}

#[test]
fn a_model_of_the_hub_is_named_where_a_path_would_be() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.wav"), voice(120.0, 1).to_wav()).unwrap();
    let served = folder.path().join("served");
    tiny_model(None).save(&served.join("our-lab/tiny")).unwrap();
    let server = HubServer::start(&served);
    let endpoint = server.endpoint();
    let run = |arguments: &[&str], offline: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sv"));
        command.args(arguments).current_dir(folder.path()).env("HF_ENDPOINT", &endpoint);
        command.env("HF_HUB_CACHE", folder.path().join("cache")).env("HF_HUB_OFFLINE", offline).env_remove("HF_TOKEN");
        command.output().unwrap()
    };
    let inspected = json(&run(&["inspect", "our-lab/tiny@main", "--json"], "0"));
    assert_eq!(inspected["source"]["name"], "our-lab/tiny");
    assert_eq!(inspected["source"]["revision"].as_str(), Some(&*server.commit("our-lab/tiny")));
    let missing = run(&["inspect", "our-lab/none"], "0");
    assert_eq!(missing.status.code(), Some(2));
    let message = text(&missing.stderr);
    assert!(message.contains("no file or folder our-lab/none") && message.contains("has no model"), "{message}");
    drop(server);
    let verify = ["verify", "--model", "our-lab/tiny", "a.wav", "a.wav", "--threshold", "0.5"];
    assert_eq!(run(&verify, "1").status.code(), Some(0), "offline, and without a hub");
    let converted = run(&["convert", "our-lab/tiny", "out"], "1");
    assert!(converted.status.success(), "{}", text(&converted.stderr));
    let card = std::fs::read_to_string(folder.path().join("out/model.toml")).unwrap();
    assert!(card.contains("[source.files]") && card.contains("\"weights.safetensors\" = "), "{card}");
}
