//! `linnet`, the command line of a Linnet node: a thin client of linnetd's API.
//!
//! Exit status: 0 done, 1 the answer is no, 2 wrong use, 3 no daemon.

mod args;
mod bfd;
mod bgp;
mod client;
mod doctor;
mod drain;
mod endpoint;
mod error;
mod output;
mod overlay;
mod policy;
mod route;
mod route_check;
mod status;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{
    Args, BfdCommand, BgpCommand, Command, EndpointCommand, FilterCommand, MrtCommand, OverlayCommand, PolicyCommand,
    RouteCommand,
};
use client::Client;
use error::Error;
use output::Printer;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run(args).await {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        // `linnet bgp routes | head`: the reader has what it wanted.
        Err(Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("linnet: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}

/// What a command found out, when it could be carried out at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

async fn run(args: Args) -> Result<Answer, Error> {
    let print = Printer::new(args.output);
    if let Command::Completion { shell } = args.command {
        // Straight to standard output it would panic when the reader has gone.
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Args::command(), "linnet", &mut script);
        std::io::stdout().write_all(&script)?;
        return Ok(Answer::Yes);
    }
    let client = Client::connect(&args.socket).await?;
    match args.command {
        Command::Status => status::status(&client, &print).await,
        Command::Reload => status::reload(&client, &print).await,
        Command::Drain { wait } => drain::drain(&client, &print, wait).await,
        Command::Doctor => doctor::doctor(&client, &print).await,
        Command::Undrain => drain::undrain(&client).await,
        Command::Bgp { command } => match command {
            BgpCommand::Summary => bgp::summary(&client, &print).await,
            BgpCommand::Neighbor { peer } => bgp::neighbor(&client, &print, peer).await,
            BgpCommand::Routes(query) => bgp::routes(&client, &print, query).await,
            BgpCommand::Filter { command: FilterCommand::List } => bgp::filters(&client, &print).await,
            BgpCommand::Filter { command: FilterCommand::Test(question) } => {
                bgp::test_filter(&client, &print, *question).await
            }
            BgpCommand::Bmp => bgp::bmp(&client, &print).await,
            BgpCommand::Mrt { command: MrtCommand::Status } => bgp::mrt_status(&client, &print).await,
            BgpCommand::Mrt { command: MrtCommand::Dump { file } } => bgp::mrt_dump(&client, &file).await,
            BgpCommand::Rpki { prefix } => bgp::rpki(&client, &print, prefix).await,
            BgpCommand::Disable { peer, message } => bgp::set_enabled(&client, peer, false, message).await,
            BgpCommand::Enable { peer } => bgp::set_enabled(&client, peer, true, None).await,
            BgpCommand::Reset { peer, soft, keep_routes, message } => {
                bgp::reset(&client, peer, soft, keep_routes, message).await
            }
        },
        Command::Bfd { command: BfdCommand::List } => bfd::list(&client, &print).await,
        Command::Route { command } => match command {
            RouteCommand::List => route::list(&client, &print).await,
            RouteCommand::Check => route_check::check(&client, &print).await,
            RouteCommand::Get { address } => route::get(&client, &print, address).await,
        },
        Command::Overlay { command: OverlayCommand::List } => overlay::list(&client, &print).await,
        Command::Endpoint { command } => match command {
            EndpointCommand::List => endpoint::list(&client, &print).await,
            EndpointCommand::Add(spec) => endpoint::add(&client, &print, spec).await,
            EndpointCommand::Remove { name } => endpoint::remove(&client, name).await,
        },
        Command::Policy { command } => match command {
            PolicyCommand::List => policy::list(&client, &print).await,
            PolicyCommand::Check { files } => policy::check(&client, &print, &files).await,
        },
        Command::Completion { .. } => Ok(Answer::Yes),
    }
}
