//! Where a server answers and whom: what `serve` and `study serve` have in common.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::atomic::Ordering,
    time::Duration,
};

use add_core::error::CoreError;
use add_serve::{Access, Limits};
use clap::Args;

use crate::{signals::Signals, terminal::say};

/// How often a signal is looked for.
const SIGNALS_EVERY: Duration = Duration::from_millis(25);

/// Where the token is looked for when no option states it.
const TOKEN: &str = "ADD_TOKEN";

/// Arguments of a server.
#[derive(Debug, Args)]
pub(super) struct AccessArgs {
    /// The port; 0 for any that is free.
    #[arg(long, default_value_t = 7860)]
    port: u16,
    /// The address to bind. Any but this machine's own (127.0.0.1, ::1) needs --token.
    #[arg(long, alias = "host", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "ADDRESS")]
    bind: IpAddr,
    /// What every request must bring; a browser opens /?token=TOKEN. In the environment variable ADD_TOKEN it stays out of the
    /// list of processes.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// A name beside localhost and addresses under which the server may be called; may be repeated.
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
}

impl AccessArgs {
    /// What these say, if it is safe.
    pub(super) fn checked(&self) -> Result<Access, CoreError> {
        let access = Access {
            address: SocketAddr::new(self.bind, self.port),
            token: self.token.clone().or_else(|| std::env::var(TOKEN).ok()),
            hosts: self.allow_host.clone(),
            limits: Limits::default(),
        };
        access.check().map_err(CoreError::Request)?;
        Ok(access)
    }
}

/// Ends when a signal has come.
pub(super) async fn stop(signals: &Signals) {
    while !signals.stop().load(Ordering::Relaxed) {
        tokio::time::sleep(SIGNALS_EVERY).await;
    }
}

/// Tells where the server answers.
pub(super) fn say_bound(address: SocketAddr) {
    say(&format!("serving on http://{address}/ until Ctrl-C"));
}
