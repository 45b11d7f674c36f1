//! `linnetd --cleanup`: takes everything that Linnet put into this host's kernel out again.

use anyhow::{Context, anyhow};
use fib_sync::{Fib, RoutePlace, clear_rules, pod};

use crate::config::Config;
use crate::endpoints::Endpoints;
use crate::forwarding::fib_config;
use crate::places;

/// Pods' interfaces, routes, overlay devices, the ruleset, and the record of endpoints. Everything is tried, whatever
/// fails. Returns what was removed, a line each.
///
/// # Errors
/// What is still there.
pub async fn cleanup(config: &Config) -> anyhow::Result<Vec<String>> {
    let mut done = Vec::new();
    let mut failed = Vec::new();
    remove_pods(config, &mut done, &mut failed).await;
    match remove_routes(config).await {
        Ok(lines) => done.extend(lines),
        Err(error) => failed.push(format!("{error:#}")),
    }
    match clear_rules() {
        Ok(0) => {}
        Ok(rules) => done.push(format!("{rules} rules for routing tables")),
        Err(error) => failed.push(error.to_string()),
    }
    match policy::remove_table().await {
        Ok(()) => done.push("the ruleset (table inet linnet)".into()),
        Err(error) => failed.push(error.to_string()),
    }
    if failed.is_empty() { Ok(done) } else { Err(anyhow!("not everything is removed:\n{}", failed.join("\n"))) }
}

async fn remove_pods(config: &Config, done: &mut Vec<String>, failed: &mut Vec<String>) {
    let records = match Endpoints::load(&config.state_directory) {
        Ok(records) => records,
        Err(error) => return failed.push(error.to_string()),
    };
    for record in &records {
        match pod::remove(&pod::host_name(&record.name)).await {
            Ok(()) => done.push(format!("endpoint {}: its interface", record.name)),
            Err(error) => failed.push(format!("endpoint {}: {error}", record.name)),
        }
    }
    if failed.is_empty()
        && !records.is_empty()
        && let Err(error) = Endpoints::forget(&config.state_directory)
    {
        failed.push(error.to_string());
    }
}

/// Also where runs with another table or metric put some.
async fn remove_routes(config: &Config) -> anyhow::Result<Vec<String>> {
    let (fib, _events) = Fib::start(fib_config(config)).context("the FIB engine cannot start")?;
    let routes = fib.adopted();
    fib.clear().await;
    let (check, _events) = Fib::start(fib_config(config))?;
    let left = check.adopted();
    if left > 0 {
        return Err(anyhow!("{left} routes are still in table {}", config.fib.table));
    }
    let mut lines = vec![format!("{routes} routes of table {}, and the overlay", config.fib.table)];
    for place in places::load(&config.state_directory)? {
        let removed = fib.vacate(place).await?;
        if removed > 0 {
            let RoutePlace { table, metric } = place;
            lines.push(format!("{removed} routes of table {table} with metric {metric}, of an earlier configuration"));
        }
    }
    places::forget(&config.state_directory)?;
    Ok(lines)
}
