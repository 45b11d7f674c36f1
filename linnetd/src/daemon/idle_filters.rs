//! Filters that nobody has, which a person may ask (`linnet bgp filter test`) before somebody does.

use std::collections::BTreeSet;

use crate::config::Bgp;

/// A line for each that differs and that nobody has, before or after. Of the others, the speaker says whose they are.
pub(super) fn changed(old: &Bgp, new: &Bgp) -> Vec<String> {
    let names: BTreeSet<&String> = old.filters.iter().chain(&new.filters).map(|filter| &filter.name).collect();
    let line = |name: &String| {
        let of = |bgp: &Bgp| bgp.filters.iter().find(|filter| filter.name == *name).cloned();
        let what = match (of(old), of(new)) {
            (before, after) if before == after => return None,
            (None, _) => "added",
            (_, None) => "removed",
            (Some(_), Some(_)) => "changed",
        };
        (is_idle(old, name) && is_idle(new, name)).then(|| format!("filter {name}: {what}; nobody has it"))
    };
    names.into_iter().filter_map(line).collect()
}

fn is_idle(bgp: &Bgp, name: &str) -> bool {
    let peers = bgp.peers.iter().map(|peer| &peer.settings);
    let all = peers.chain(bgp.dynamic_peers.iter().map(|peer| &peer.settings));
    let mut of_peers = all.flat_map(|settings| [&settings.import, &settings.export]).flatten();
    !of_peers.any(|used| used == name) && !bgp.import_kernel.iter().any(|import| import.filter == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, parse};

    fn with(filters: &[(&str, &str)], import: &str) -> Bgp {
        let environment = Environment { host_name: Some("n".into()), address: Some([192, 168, 10, 11].into()) };
        let filter = |(name, then): &(&str, &str)| {
            format!("[[bgp.filter]]\nname = \"{name}\"\nrules = [{{ then = \"{then}\" }}]\n")
        };
        let filters: String = filters.iter().map(filter).collect();
        let peer = "[[bgp.peer]]\nname = \"p\"\naddress = \"192.0.2.1\"\nasn = 2\nexport = \"used\"";
        let text = format!("[bgp]\nasn = 1\n{peer}\nimport = \"{import}\"\n{filters}");
        parse("f", &text, &environment).unwrap().config.bgp
    }

    #[test]
    fn filters_that_changed_are_named_where_nobody_has_them() {
        let old =
            with(&[("used", "accept"), ("a", "accept"), ("b", "accept"), ("c", "accept"), ("d", "reject")], "used");
        let new = with(&[("used", "reject"), ("b", "accept"), ("c", "reject"), ("d", "accept"), ("e", "accept")], "d");
        assert_eq!(
            changed(&old, &new),
            ["filter a: removed; nobody has it", "filter c: changed; nobody has it", "filter e: added; nobody has it"]
        );
        assert!(changed(&old, &old).is_empty());
    }
}
