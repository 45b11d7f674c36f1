//! What people write: it is understood, or each error says something.

use std::net::{IpAddr, Ipv4Addr};

use linnetd::config::{self, Environment};

/// A configuration file. What is understood prints as a file that says the same.
pub fn configuration(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let environment =
        Environment { host_name: Some("n".to_owned()), address: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))) };
    match config::parse("linnetd.toml", text, &environment) {
        Ok(parsed) => {
            let printed = parsed.config.to_string();
            let again = config::parse("printed", &printed, &environment);
            let again = again.unwrap_or_else(|findings| panic!("{printed}\n{findings:?}"));
            assert_eq!(again.config, parsed.config, "{printed}");
        }
        Err(findings) => {
            assert!(!findings.is_empty(), "refused without a word");
            findings.iter().for_each(|finding| assert!(!finding.to_string().is_empty()));
        }
    }
}

/// A file of policy documents.
pub fn policy_documents(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Err(errors) = policy::parse("policy.yaml", text) {
        assert!(!errors.is_empty(), "refused without a word");
        errors.iter().for_each(|error| assert!(!error.to_string().is_empty()));
    }
}
