//! YAML to [`Topology`]: every fault at once, each with its line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

use super::{Bind, End, Fault, Kind, Link, Node, Topology, words};

/// Keys of a node (of `defaults`, `kinds`, `groups` and `nodes` alike) that work here.
const NODE_KEYS: &[&str] = &["kind", "group", "image", "entrypoint", "cmd", "exec", "binds", "env", "sysctls"];
/// Keys of a node that concern the container engine alone.
const NODE_KEYS_WITHOUT_EFFECT: &[&str] = &[
    "image-pull-policy",
    "labels",
    "ports",
    "mgmt-ipv4",
    "mgmt-ipv6",
    "runtime",
    "cpu",
    "cpu-set",
    "memory",
    "shm-size",
    "cap-add",
    "auto-remove",
    "restart-policy",
    "healthcheck",
    "startup-delay",
    "aliases",
    "position",
    "dns",
    "certificate",
];
/// Keys of a node that would change what it does, and what to write in their place.
const NODE_KEYS_REFUSED: &[(&str, &str)] = &[
    ("startup-config", "bind the file to where the daemon reads it"),
    ("env-files", "write the variables under `env`"),
    ("stages", "let the commands in `exec` wait for what they need"),
    ("devices", "nodes see the host's devices"),
    ("user", "everything in a node runs as root"),
    ("type", "the kinds linux and bridge have none"),
    ("license", "the kinds linux and bridge have none"),
    ("config", "bind a file to where the daemon reads it"),
    ("extras", "the kinds linux and bridge have none"),
    ("sandbox", "nodes are namespaces"),
    ("kernel", "nodes share the host's kernel"),
];
/// The longest name that the kernel takes for an interface (IFNAMSIZ is 16, with the zero).
const INTERFACE_NAME_LEN: usize = 15;

pub(super) fn parse(file: &str, directory: &Path, text: &str) -> Result<Topology, Vec<Fault>> {
    let mut reader = Reader { file, directory, faults: Vec::new(), notes: Vec::new() };
    let documents = match MarkedYaml::load_from_str(text) {
        Ok(documents) => documents,
        Err(error) => {
            let (line, column) = (error.marker().line(), error.marker().col() + 1);
            let message = format!("this is not YAML: {}; nothing after it was read", error.info());
            return Err(vec![Fault { file: file.to_owned(), line, column, message }]);
        }
    };
    let topology = match documents.as_slice() {
        [document] => reader.topology(document),
        _ => {
            let message = format!("{} YAML documents where one is wanted; write one lab a file", documents.len());
            return Err(vec![Fault { file: file.to_owned(), line: 1, column: 1, message }]);
        }
    };
    reader.faults.sort_by_key(|fault| (fault.line, fault.column));
    match topology {
        Some(mut topology) if reader.faults.is_empty() => {
            topology.notes = reader.notes;
            Ok(topology)
        }
        _ => Err(reader.faults),
    }
}

/// What one place says about a node, before places are merged.
#[derive(Clone, Default)]
struct Layer {
    kind: Option<Kind>,
    group: Option<String>,
    image: Option<String>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    exec: Vec<Vec<String>>,
    binds: Vec<(PathBuf, PathBuf, bool)>,
    env: BTreeMap<String, String>,
    sysctls: BTreeMap<String, String>,
}

impl Layer {
    /// `other` is nearer to the node: its values win, its commands come later.
    fn under(mut self, other: &Self) -> Self {
        self.kind = other.kind.or(self.kind);
        self.group = other.group.clone().or(self.group);
        self.image = other.image.clone().or(self.image);
        self.entrypoint = other.entrypoint.clone().or(self.entrypoint);
        self.cmd = other.cmd.clone().or(self.cmd);
        self.exec.extend(other.exec.iter().cloned());
        for bind in &other.binds {
            self.binds.retain(|(_, target, _)| *target != bind.1);
            self.binds.push(bind.clone());
        }
        self.env.extend(other.env.clone());
        self.sysctls.extend(other.sysctls.clone());
        self
    }
}

struct Reader<'a> {
    file: &'a str,
    directory: &'a Path,
    faults: Vec<Fault>,
    notes: Vec<String>,
}

impl Reader<'_> {
    fn fault(&mut self, at: &MarkedYaml, message: impl Into<String>) {
        let (line, column) = (at.span.start.line(), at.span.start.col() + 1);
        self.faults.push(Fault { file: self.file.to_owned(), line, column, message: message.into() });
    }

    /// The pairs of a mapping. Nothing at all (`defaults:` with no value) is an empty one.
    fn pairs<'y, 'i>(
        &mut self,
        what: &str,
        node: &'y MarkedYaml<'i>,
    ) -> Vec<(String, &'y MarkedYaml<'i>, &'y MarkedYaml<'i>)> {
        match &node.data {
            YamlData::Mapping(pairs) => {
                pairs.iter().filter_map(|(key, value)| Some((self.text("a key", key)?, key, value))).collect()
            }
            YamlData::Value(Scalar::Null) => Vec::new(),
            _ => {
                self.fault(node, format!("{what} is a mapping, `key: value`; write it as one"));
                Vec::new()
            }
        }
    }

    fn items<'y, 'i>(&mut self, what: &str, node: &'y MarkedYaml<'i>) -> &'y [MarkedYaml<'i>] {
        match &node.data {
            YamlData::Sequence(items) => items,
            YamlData::Value(Scalar::Null) => &[],
            _ => {
                self.fault(node, format!("{what} is a list; write each item after a dash"));
                &[]
            }
        }
    }

    fn text(&mut self, what: &str, node: &MarkedYaml) -> Option<String> {
        match &node.data {
            YamlData::Value(Scalar::String(text)) => Some(text.to_string()),
            YamlData::Value(Scalar::Integer(number)) => Some(number.to_string()),
            YamlData::Value(Scalar::Boolean(flag)) => Some(flag.to_string()),
            YamlData::Value(Scalar::FloatingPoint(number)) => Some(number.to_string()),
            _ => {
                self.fault(node, format!("{what} is text; put it in quotes"));
                None
            }
        }
    }

    fn texts(&mut self, place: &str, what: &str, node: &MarkedYaml) -> BTreeMap<String, String> {
        let pairs = self.pairs(place, node).into_iter();
        pairs.filter_map(|(name, _, value)| Some((name, self.text(what, value)?))).collect()
    }

    fn unknown(&mut self, key_node: &MarkedYaml, key: &str, place: &str, known: &[&str]) {
        let next = match nearest(key, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        self.fault(key_node, format!("unknown key `{key}` in {place}; the lab might not be what you mean; {next}"));
    }

    fn note(&mut self, key_node: &MarkedYaml, key: &str) {
        let line = key_node.span.start.line();
        self.notes.push(format!("{}:{line}: `{key}` concerns the container engine and has no effect here", self.file));
    }

    fn topology(&mut self, document: &MarkedYaml) -> Option<Topology> {
        let (mut name, mut body) = (None, None);
        for (key, key_node, value) in self.pairs("a topology file", document) {
            match key.as_str() {
                "name" => name = self.name("the lab", value),
                "topology" => body = Some(value),
                "mgmt" | "prefix" | "settings" | "debug" => self.note(key_node, &key),
                _ => self.unknown(key_node, &key, "a topology file", &["name", "topology", "mgmt", "prefix"]),
            }
        }
        if name.is_none() && self.faults.is_empty() {
            self.fault(document, "the lab has no name, and its folder is called after it; write `name: NAME`");
        }
        let Some(body) = body else {
            self.fault(document, "there is no `topology`, so there is nothing to run; write its `nodes` and `links`");
            return None;
        };
        let (mut defaults, mut kinds, mut groups) = (Layer::default(), BTreeMap::new(), BTreeMap::new());
        let (mut nodes, mut links) = (None, None);
        for (key, key_node, value) in self.pairs("`topology`", body) {
            match key.as_str() {
                "defaults" => defaults = self.layer("`defaults`", value),
                "kinds" => {
                    for (kind, kind_node, value) in self.pairs("`kinds`", value) {
                        let layer = self.layer("a kind", value);
                        if let Some(kind) = self.kind(kind_node, &kind) {
                            kinds.insert(kind as u8, layer);
                        }
                    }
                }
                "groups" => {
                    for (group, _, value) in self.pairs("`groups`", value) {
                        groups.insert(group, self.layer("a group", value));
                    }
                }
                "nodes" => nodes = Some(value),
                "links" => links = Some(value),
                _ => self.unknown(key_node, &key, "`topology`", &["defaults", "kinds", "groups", "nodes", "links"]),
            }
        }
        let nodes = nodes.map(|nodes| self.nodes(nodes, &defaults, &kinds, &groups)).unwrap_or_default();
        if nodes.is_empty() && self.faults.is_empty() {
            self.fault(body, "there are no nodes, so there is nothing to run; write at least one under `nodes`");
        }
        let links = links.map(|links| self.links(links, &nodes)).unwrap_or_default();
        Some(Topology { name: name?, directory: self.directory.to_owned(), nodes, links, notes: Vec::new() })
    }

    fn nodes(
        &mut self,
        node: &MarkedYaml,
        defaults: &Layer,
        kinds: &BTreeMap<u8, Layer>,
        groups: &BTreeMap<String, Layer>,
    ) -> Vec<Node> {
        let mut nodes = Vec::new();
        for (_, name_node, value) in self.pairs("`nodes`", node) {
            let Some(name) = self.name("a node", name_node) else { continue };
            let faults = self.faults.len();
            let own = self.layer("a node", value);
            let group = match own.group.as_ref().or(defaults.group.as_ref()) {
                None => Layer::default(),
                Some(group) => match groups.get(group) {
                    Some(layer) => layer.clone(),
                    None => {
                        let message = format!("node {name} is of group `{group}`, which `groups` does not have");
                        self.fault(name_node, format!("{message}; write the group, or remove the key"));
                        continue;
                    }
                },
            };
            let Some(kind) = own.kind.or(group.kind).or(defaults.kind) else {
                if self.faults.len() > faults {
                    continue;
                }
                self.fault(name_node, format!("node {name} has no kind; write `kind: linux` or `kind: bridge`"));
                continue;
            };
            let of_kind = kinds.get(&(kind as u8)).cloned().unwrap_or_default();
            let merged = defaults.clone().under(&of_kind).under(&group).under(&own);
            let image = merged.image.unwrap_or_default();
            if kind == Kind::Linux && image.is_empty() {
                self.fault(name_node, format!("node {name} has no image; write one, such as `image: debian:12`"));
            }
            let resolve = |text: &Path| PathBuf::from(text.to_string_lossy().replace("__clabNodeName__", &name));
            let binds = merged.binds.iter().map(|(source, target, read_only)| Bind {
                source: self.directory.join(resolve(source)),
                target: resolve(target),
                read_only: *read_only,
            });
            let binds: Vec<_> = binds.collect();
            let Layer { entrypoint, cmd, exec, env, sysctls, .. } = merged;
            nodes.push(Node { name, kind, image, entrypoint, cmd, exec, binds, env, sysctls });
        }
        nodes
    }

    /// Names become folders, host names and arguments.
    fn name(&mut self, what: &str, node: &MarkedYaml) -> Option<String> {
        let name = self.text(what, node)?;
        let good = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
        if name.len() <= 63 && name.starts_with(|l: char| l.is_ascii_alphanumeric()) && name.chars().all(good) {
            return Some(name);
        }
        let rule = "letters, digits, `-`, `_` and `.`, at most 63, a letter or digit first";
        self.fault(node, format!("`{name}` cannot be the name of {what}: it becomes a host name; use {rule}"));
        None
    }

    fn kind(&mut self, at: &MarkedYaml, kind: &str) -> Option<Kind> {
        match kind {
            "linux" => Some(Kind::Linux),
            "bridge" => Some(Kind::Bridge),
            _ => {
                self.fault(at, format!("kind `{kind}` needs its vendor's image; known here: linux, bridge"));
                None
            }
        }
    }

    fn layer(&mut self, place: &str, node: &MarkedYaml) -> Layer {
        let mut layer = Layer::default();
        for (key, key_node, value) in self.pairs(place, node) {
            match key.as_str() {
                "kind" => layer.kind = self.text("a kind", value).and_then(|kind| self.kind(value, &kind)),
                "group" => layer.group = self.text("a group", value),
                "image" => layer.image = self.text("an image", value),
                "entrypoint" => layer.entrypoint = self.command("`entrypoint`", value),
                "cmd" => layer.cmd = self.command("`cmd`", value),
                "exec" => {
                    let items = self.items("`exec`", value);
                    layer.exec = items.iter().filter_map(|item| self.command("a line of `exec`", item)).collect();
                }
                "binds" => {
                    let items = self.items("`binds`", value);
                    layer.binds = items.iter().filter_map(|item| self.bind(item)).collect();
                }
                "env" => layer.env = self.texts("`env`", "a variable", value),
                "sysctls" => layer.sysctls = self.texts("`sysctls`", "a kernel parameter", value),
                "network-mode" => {
                    // Nodes have the links of the file and no management network: what containerlab calls none.
                    if self.text("`network-mode`", value).is_some_and(|mode| mode != "none") {
                        self.fault(value, "nodes have only the links of this file; write `network-mode: none`");
                    }
                }
                key if NODE_KEYS_WITHOUT_EFFECT.contains(&key) => self.note(key_node, key),
                key => match NODE_KEYS_REFUSED.iter().find(|(refused, _)| *refused == key) {
                    Some((_, next)) => {
                        self.fault(key_node, format!("`{key}` does not work here, and the lab would differ; {next}"));
                    }
                    None => self.unknown(key_node, key, place, NODE_KEYS),
                },
            }
        }
        layer
    }

    fn command(&mut self, what: &str, node: &MarkedYaml) -> Option<Vec<String>> {
        let line = self.text(what, node)?;
        match words(&line) {
            Ok(words) if words.is_empty() => {
                self.fault(node, format!("{what} is empty; write a command, or remove it"));
                None
            }
            Ok(words) => Some(words),
            Err(problem) => {
                self.fault(node, format!("{what}: {problem}, so it cannot be cut into words; close it"));
                None
            }
        }
    }

    fn bind(&mut self, node: &MarkedYaml) -> Option<(PathBuf, PathBuf, bool)> {
        let text = self.text("a bind", node)?;
        let mut parts = text.split(':');
        let (Some(source), Some(target)) = (parts.next(), parts.next()) else {
            self.fault(node, format!("bind `{text}` has no target; write `SOURCE:TARGET` or `SOURCE:TARGET:ro`"));
            return None;
        };
        let mut read_only = false;
        for option in parts.flat_map(|part| part.split(',')) {
            match option {
                "ro" => read_only = true,
                "rw" | "z" | "Z" => {}
                _ => self.fault(node, format!("bind `{text}` has the option `{option}`; known here: ro, rw")),
            }
        }
        let target = PathBuf::from(target);
        if !target.is_absolute() || target.components().any(|part| part == Component::ParentDir) {
            self.fault(node, format!("bind `{text}` needs an absolute path without `..` as target; write one"));
            return None;
        }
        Some((PathBuf::from(source), target, read_only))
    }

    fn links(&mut self, node: &MarkedYaml, nodes: &[Node]) -> Vec<Link> {
        let mut links = Vec::new();
        let mut taken: BTreeSet<(String, String)> = BTreeSet::new();
        for item in self.items("`links`", node) {
            let (mut ends, mut mtu) = (None, None);
            for (key, key_node, value) in self.pairs("a link", item) {
                match key.as_str() {
                    "endpoints" => ends = Some(value),
                    "mtu" => match value.data {
                        YamlData::Value(Scalar::Integer(bytes @ 68..=65535)) => mtu = u32::try_from(bytes).ok(),
                        _ => self.fault(value, "an MTU is a number of bytes from 68 to 65535; write one"),
                    },
                    "type" => match self.text("a link's type", value).as_deref() {
                        Some("veth") | None => {}
                        Some(other) => {
                            let reach = "reaches outside of the lab or is not made here";
                            self.fault(value, format!("a link of type `{other}` {reach}; write `type: veth`"));
                        }
                    },
                    "labels" | "vars" => self.note(key_node, &key),
                    _ => self.unknown(key_node, &key, "a link", &["endpoints", "mtu", "type"]),
                }
            }
            let Some(ends_node) = ends else {
                self.fault(item, "a link has two `endpoints`; write `endpoints: [\"A:eth1\", \"B:eth1\"]`");
                continue;
            };
            let items = self.items("`endpoints`", ends_node);
            if items.len() != 2 {
                self.fault(ends_node, format!("a link has two endpoints and this one {}; write two", items.len()));
                continue;
            }
            let mut ends = Vec::new();
            for item in items {
                let Some(end) = self.end(item, nodes) else { continue };
                // All bridges share a namespace, as under containerlab, so their ports share one set of names.
                let bridge = nodes.iter().any(|node| node.name == end.node && node.kind == Kind::Bridge);
                let room = if bridge { String::new() } else { end.node.clone() };
                if taken.insert((room, end.interface.clone())) {
                    ends.push(end);
                    continue;
                }
                let End { node, interface } = &end;
                let why = if bridge { " (all bridges share one namespace)" } else { "" };
                self.fault(item, format!("{node}:{interface} is taken by an earlier link{why}; use another name"));
            }
            if let Ok(ends) = <[End; 2]>::try_from(ends) {
                links.push(Link { ends, mtu });
            }
        }
        links
    }

    fn end(&mut self, item: &MarkedYaml, nodes: &[Node]) -> Option<End> {
        let (node, interface) = if let YamlData::Mapping(_) = item.data {
            let (mut node, mut interface) = (None, None);
            for (key, key_node, value) in self.pairs("an endpoint", item) {
                match key.as_str() {
                    "node" => node = self.text("a node", value),
                    "interface" => interface = self.text("an interface", value),
                    _ => self.unknown(key_node, &key, "an endpoint", &["node", "interface"]),
                }
            }
            (node?, interface?)
        } else {
            let text = self.text("an endpoint", item)?;
            let Some((node, interface)) = text.split_once(':') else {
                self.fault(item, format!("endpoint `{text}` names no interface; write `NODE:INTERFACE`"));
                return None;
            };
            (node.to_owned(), interface.to_owned())
        };
        if nodes.iter().all(|known| known.name != node) {
            let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
            let next = match nearest(&node, &names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the nodes are {}", names.join(", ")),
            };
            self.fault(item, format!("there is no node `{node}` to wire; {next}"));
            return None;
        }
        let bad = |letter: char| letter.is_whitespace() || letter == '/' || letter.is_control();
        if interface.is_empty()
            || interface.len() > INTERFACE_NAME_LEN
            || interface.chars().any(bad)
            || interface == "lo"
        {
            let rule = format!("1 to {INTERFACE_NAME_LEN} characters without blanks and slashes");
            self.fault(item, format!("the kernel takes no new interface `{interface}`; use {rule}"));
            return None;
        }
        Some(End { node, interface })
    }
}

/// The known word that a person most likely meant: at most two letters away, one if it is short.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let limit = if word.len() < 4 { 1 } else { 2 };
    known.iter().map(|k| (distance(word, k), *k)).filter(|(d, _)| *d <= limit).min().map(|(_, k)| k)
}

/// Levenshtein's distance, in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
