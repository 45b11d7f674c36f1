//! From this host's endpoints to what policy looks at: the one place that knows both.

use fib_sync::pod;

use crate::config;
use crate::endpoints::Record;

/// The endpoint as policy knows it.
#[must_use]
pub fn endpoint(record: &Record) -> policy::Endpoint {
    let (namespace, name) = record.name.split_once('/').unwrap_or(("default", &record.name));
    policy::Endpoint {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        labels: record.labels.clone(),
        interface: pod::host_name(&record.name),
        addresses: record.addresses.clone(),
    }
}

/// `[policy]` as policy knows it.
#[must_use]
pub fn policy_config(config: &config::Policy) -> policy::PolicyConfig {
    policy::PolicyConfig {
        directory: config.directory.clone(),
        default: if config.deny { policy::Default::Deny } else { policy::Default::Allow },
    }
}
