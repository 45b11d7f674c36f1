//! The grammar of the command line: nouns, then verbs.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args as Arguments, Parser, Subcommand};
use ipnetwork::IpNetwork;

use crate::output::Format;

/// Shows and steers the Linnet daemon on this host.
#[derive(Debug, Parser)]
#[command(
    name = "linnet",
    version,
    after_help = "Exit status: 0 done, 1 the answer is no, 2 wrong use, 3 no daemon.\n\nExamples:\n  \
    linnet status\n  linnet bgp summary\n  linnet bgp routes 10.244.2.0/24 -o json\n  linnet route get 10.244.2.7"
)]
pub(crate) struct Args {
    /// How to print.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,

    /// The daemon's socket.
    #[arg(long, global = true, env = "LINNET_SOCKET", default_value = "/run/linnet/linnetd.sock", value_name = "PATH")]
    pub(crate) socket: PathBuf,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What this node does and how it fares; exit status 1 when a part of it is degraded.
    #[command(
        after_help = "Examples:\n  linnet status\n  linnet status -o json | jq -r '.components[] | select(.state != \"ok\")'"
    )]
    Status,
    /// Looks for what is wrong with this node: culprit, consequence, next step; exit status 1 when there is a fault.
    #[command(
        after_help = "It changes nothing, and sends some packets to find out whether they pass. Notes are no faults.\n\nExamples:\n  linnet doctor\n  linnet doctor -o json | jq -r '.sections[].findings[] | .culprit'"
    )]
    Doctor,
    /// BGP sessions and routes.
    Bgp {
        #[command(subcommand)]
        command: BgpCommand,
    },
    /// BFD, which watches the paths to BGP peers.
    Bfd {
        #[command(subcommand)]
        command: BfdCommand,
    },
    /// What is in the kernel, and why.
    Route {
        #[command(subcommand)]
        command: RouteCommand,
    },
    /// Tunnels to hosts without L2 adjacency.
    Overlay {
        #[command(subcommand)]
        command: OverlayCommand,
    },
    /// The pods of this host.
    Endpoint {
        #[command(subcommand)]
        command: EndpointCommand,
    },
    /// Network policy.
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Reads the configuration file again and applies what changed in place.
    #[command(after_help = "A file with an error changes nothing; exit status 1.\n\nExamples:\n  linnet reload")]
    Reload,
    /// Takes this node out of the network without losing a packet (RFC 8326): peers are asked to use other routes, then
    /// every route is withdrawn. Sessions stay up; a restart of linnetd keeps the node drained.
    #[command(
        after_help = "How long peers have is `drain-time` of [bgp], 10 s unless set.\n\nExamples:\n  linnet drain --wait && reboot\n  linnet drain"
    )]
    Drain {
        /// Return only when every route is withdrawn.
        #[arg(long)]
        wait: bool,
    },
    /// Ends a drain: announces every route again, at once.
    #[command(after_help = "Examples:\n  linnet undrain")]
    Undrain,
    /// Prints a completion script for a shell.
    #[command(after_help = "Examples:\n  linnet completion bash > /etc/bash_completion.d/linnet")]
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum BgpCommand {
    /// One line a peer.
    #[command(after_help = "Examples:\n  linnet bgp summary\n  linnet bgp summary -o wide")]
    Summary,
    /// Everything about one peer, or about all.
    #[command(after_help = "Examples:\n  linnet bgp neighbor tor-a\n  linnet bgp neighbor 192.168.10.1 -o json")]
    Neighbor {
        /// A peer's name or address.
        peer: Option<String>,
    },
    /// Routes, best first, each with the reason why it is best or not.
    #[command(
        after_help = "Marks: * best, = in the multipath set, s kept while its peer restarts.\n\nExamples:\n  linnet bgp routes\n  \
        linnet bgp routes 10.244.2.0/24\n  linnet bgp routes --received tor-a\n  linnet bgp routes --rejected -o json"
    )]
    Routes(RoutesQuery),
    /// The filters of this node, and what they make of a route.
    Filter {
        #[command(subcommand)]
        command: FilterCommand,
    },
    /// RPKI caches: their sessions, and what they say of a prefix.
    #[command(
        after_help = "With a prefix: who may originate it. Exit status 1 when no VRP covers it.\n\nExamples:\n  linnet bgp rpki\n  \
        linnet bgp rpki 203.0.113.0/24"
    )]
    Rpki {
        /// Show the VRPs that cover this prefix.
        prefix: Option<IpNetwork>,
    },
    /// Monitoring stations (BMP), and how far each one is.
    #[command(after_help = "Examples:\n  linnet bgp bmp\n  linnet bgp bmp -o json")]
    Bmp,
    /// Files of routes (MRT).
    Mrt {
        #[command(subcommand)]
        command: MrtCommand,
    },
    /// Ends a session and keeps it down until `enable`, `linnet reload` or the daemon's next start.
    #[command(
        after_help = "Examples:\n  linnet bgp disable tor-a\n  linnet bgp disable tor-a --message 'new optics, back at 17:00'"
    )]
    Disable {
        /// A peer's name or address.
        peer: String,
        /// What to tell the person at the other end (RFC 9003), at most 255 octets.
        #[arg(long, value_name = "TEXT", value_parser = communication)]
        message: Option<String>,
    },
    /// Starts a session that was disabled.
    #[command(after_help = "Examples:\n  linnet bgp enable tor-a")]
    Enable {
        /// A peer's name or address.
        peer: String,
    },
    /// Ends a session and starts it again.
    #[command(
        after_help = "Where both ends keep routes across NOTIFICATIONs (RFC 8538), this is a hard reset, which costs them, unless --keep-routes is \
        given.\n\nExamples:\n  linnet bgp reset tor-a\n  linnet bgp reset tor-a --message 'new optics, CHG-1234'\n  \
        linnet bgp reset tor-a --keep-routes\n  linnet bgp reset tor-a --soft"
    )]
    Reset {
        /// A peer's name or address.
        peer: String,
        /// Only apply filters again and exchange routes anew; the session stays up.
        #[arg(long)]
        soft: bool,
        /// Both ends keep the other's routes until the session is back (RFC 8538); nothing is done where they would not.
        #[arg(long, conflicts_with = "soft")]
        keep_routes: bool,
        /// What to tell the person at the other end (RFC 9003), at most 255 octets.
        #[arg(long, value_name = "TEXT", conflicts_with = "soft", value_parser = communication)]
        message: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum MrtCommand {
    /// What the daemon has written.
    #[command(after_help = "Examples:\n  linnet bgp mrt status")]
    Status,
    /// Writes the table as it is now: the accepted paths of every peer (TABLE_DUMP_V2).
    #[command(
        after_help = "The file has its name only once it is whole.\n\nExamples:\n  linnet bgp mrt dump /tmp/table.mrt\n  \
        linnet bgp mrt dump - | bgpdump -m -"
    )]
    Dump {
        /// Where to; `-`: standard output.
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum FilterCommand {
    /// Every filter with its rules, and the peers that have it.
    #[command(after_help = "Examples:\n  linnet bgp filter list")]
    List,
    /// Asks a filter about a route and says rule by rule what matched, or why not; exit status 1 when it rejects, or the peer would hear nothing.
    #[command(
        after_help = "The route is the one that you describe, or with --from-rib each path to the prefix that is in the RIB: as its peer sent it\nwhere the filter is that peer's import filter, else as it stands in the table. With --to, the route stands in the table, and what comes before and after the filter\non the way to that peer is done to it too: next hop, AS path, communities, whom it may reach at all.\n\nExamples:\n  \
        linnet bgp filter test from-tor 10.1.0.0/16 --as-path '65001 65010' --community 65001:100\n  \
        linnet bgp filter test to-tor 10.244.1.0/24 --source local\n  linnet bgp filter test from-tor 10.1.0.0/16 --from-rib\n  \
        linnet bgp filter test to-tor 10.1.0.0/16 --from-rib --to tor-a"
    )]
    Test(Box<FilterQuestion>),
}

#[derive(Debug, Arguments)]
pub(crate) struct FilterQuestion {
    /// The filter's name; "mesh" is what internal peers without an import filter have.
    pub(crate) filter: String,
    /// The route's prefix.
    pub(crate) prefix: IpNetwork,
    /// Ask about the paths to this prefix that are in the RIB.
    #[arg(long, conflicts_with_all = ["as_path", "communities", "next_hop", "peer", "source", "med", "local_pref", "origin", "validation"])]
    pub(crate) from_rib: bool,
    /// Say what this peer would be sent if the filter were its export filter; its session must be up.
    #[arg(long, value_name = "PEER")]
    pub(crate) to: Option<String>,
    /// AS numbers, nearest first, for example '65001 65002 {65003,65004}'.
    #[arg(long, value_name = "PATH")]
    pub(crate) as_path: Option<String>,
    /// A community of any kind, for example 65001:100, 64512:1:2, rt:65001:1 or lb:65001:10G; may be repeated.
    #[arg(long = "community", value_name = "COMMUNITY")]
    pub(crate) communities: Vec<String>,
    /// The next hop.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) next_hop: Option<IpAddr>,
    /// The peer that it is learned from.
    #[arg(long, value_name = "PEER")]
    pub(crate) peer: Option<String>,
    /// From where it is learned; what the peer is unless said, else external.
    #[arg(long, value_parser = ["local", "internal", "external"])]
    pub(crate) source: Option<String>,
    /// MULTI_EXIT_DISC.
    #[arg(long)]
    pub(crate) med: Option<u32>,
    /// LOCAL_PREF.
    #[arg(long)]
    pub(crate) local_pref: Option<u32>,
    /// ORIGIN, igp unless said.
    #[arg(long, value_parser = ["igp", "egp", "incomplete"])]
    pub(crate) origin: Option<String>,
    /// Its origin's state (RFC 6811), what the VRPs say of the path unless said.
    #[arg(long, value_parser = ["valid", "invalid", "not-found"])]
    pub(crate) validation: Option<String>,
}

#[derive(Debug, Arguments)]
pub(crate) struct RoutesQuery {
    /// Only this prefix, exactly.
    pub(crate) prefix: Option<IpNetwork>,
    /// What this peer sent, accepted or not.
    #[arg(long, value_name = "PEER", group = "scope")]
    pub(crate) received: Option<String>,
    /// What this peer was sent.
    #[arg(long, value_name = "PEER", group = "scope")]
    pub(crate) advertised: Option<String>,
    /// What was rejected, with the reason.
    #[arg(long, group = "scope")]
    pub(crate) rejected: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BfdCommand {
    /// The sessions, what each end wants, and what was discarded.
    #[command(
        after_help = "Examples:\n  linnet bfd list\n  linnet bfd list -o wide\n  linnet bfd list -o json | jq '.sessions[] | select(.state != \"Up\")'"
    )]
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RouteCommand {
    /// The routes that Linnet wants in the kernel, and whether they are.
    #[command(
        after_help = "Examples:\n  linnet route list\n  linnet route list -o json | jq '.routes[] | select(.installed | not)'"
    )]
    List,
    /// Compares all that is Linnet's in the kernel with what is wanted, repairs what differs, and says what that was; exit
    /// status 1 when something could not be repaired.
    #[command(
        after_help = "The daemon does the same by itself every ten minutes.\n\nExamples:\n  linnet route check\n  linnet route check -o json | jq '.differences[] | select(.repaired | not)'"
    )]
    Check,
    /// What the kernel does with a packet to this address, and why; exit status 1 when it has no route.
    #[command(after_help = "Examples:\n  linnet route get 10.244.2.7")]
    Get {
        /// IPv4 or IPv6.
        address: IpAddr,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum OverlayCommand {
    /// The overlay's device, and for each next hop whether it is reached directly or by a tunnel.
    #[command(after_help = "Examples:\n  linnet overlay list")]
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EndpointCommand {
    /// The pods of this host.
    #[command(after_help = "Examples:\n  linnet endpoint list\n  linnet endpoint list -o json")]
    List,
    /// Gives a network namespace an interface, addresses and routes.
    #[command(
        after_help = "The interface comes up once the policy for it is in force. Repeating the command changes nothing.\n\nExamples:\n  \
        ip netns add web\n  linnet endpoint add --name web --netns web --ip 10.244.1.10 --ip fd00:244:1::10 --label app=web"
    )]
    Add(EndpointSpec),
    /// Takes it away again.
    #[command(after_help = "Examples:\n  linnet endpoint remove web")]
    Remove {
        /// `name`, or `namespace/name`.
        name: String,
    },
}

#[derive(Debug, Arguments)]
pub(crate) struct EndpointSpec {
    /// `name` (in namespace default) or `namespace/name`.
    #[arg(long)]
    pub(crate) name: String,
    /// A name under /run/netns, or the path of a network namespace.
    #[arg(long)]
    pub(crate) netns: String,
    /// An address inside the node's pod subnets; may be repeated.
    #[arg(long = "ip", required = true, value_name = "ADDRESS")]
    pub(crate) addresses: Vec<IpAddr>,
    /// A label, for policies to select by; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// The interface's name inside the namespace.
    #[arg(long, default_value = "eth0")]
    pub(crate) interface: String,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is written KEY=VALUE, for example app=web".to_owned()),
    }
}

/// RFC 9003 section 2: its length is one octet.
fn communication(text: &str) -> Result<String, String> {
    match text.len() {
        0..=255 => Ok(text.to_owned()),
        length => Err(format!("{length} octets, and a NOTIFICATION has room for 255; say it shorter")),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// The documents in force, whom they select, and those that did not parse.
    #[command(after_help = "Examples:\n  linnet policy list\n  linnet policy list -o wide")]
    List,
    /// Parses documents as the daemon would and changes nothing; exit status 1 when one has an error.
    #[command(after_help = "Examples:\n  linnet policy check web.yaml\n  linnet policy check policy.d/*.yaml")]
    Check {
        /// YAML files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_label_needs_a_key() {
        assert_eq!(label("app=web=1"), Ok(("app".into(), "web=1".into())));
        assert!(label("=web").is_err());
        assert!(label("app").is_err());
    }

    #[test]
    fn a_message_has_at_most_255_octets() {
        assert!(communication(&"ü".repeat(127)).is_ok());
        assert!(communication(&"ü".repeat(128)).is_err_and(|error| error.contains("256 octets")));
    }

    #[test]
    fn every_command_has_examples_in_its_help() {
        fn check(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands() {
                let path = format!("{path} {}", sub.get_name());
                if sub.get_subcommands().next().is_none() {
                    let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                    assert!(help.contains("Examples:\n"), "{path} has no examples");
                }
                check(sub, &path);
            }
        }
        check(&Args::command(), "linnet");
    }
}
