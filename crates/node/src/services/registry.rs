//! The services that this node's user provides, who may call them, and how many calls run.
//!
//! Invariants: a service is callable from [`Registry::provide`] until its [`Provided`] is dropped,
//! and not a moment longer; nobody may call by default; a caller hears [`Refusal::Busy`] only from a
//! service that it may call. No lock is held while the caller's memberships are asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use ayni_core::id::{PeerId, RoomId};
use ayni_core::limits::MAX_SERVICES;
use ayni_core::proto::{self, Opened, ServiceDescriptor};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::model::ServiceInfo;
use crate::service::{Allow, Caller, Offer, Provided, Provider, ServiceLimits};

/// Most services provided at once: what one `Hello` can list beside the built-in ones.
pub(crate) const MAX_PROVIDED: usize = MAX_SERVICES - proto::service::BUILT_IN.len();
/// Most calls at once that a provider may ask for: each holds a task, a stream and its buffers.
pub(crate) const MAX_CONCURRENCY: usize = 4096;
/// Longest time that a provider may give one call: a day is a TCP session left open over night.
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_hours(24);
/// One caller leaves one in this many of a service's calls to the others, so that a flood from one
/// peer does not shut them out.
const SHARE_FOR_OTHERS: usize = 4;

/// Asks whether a device is a member of a room now.
pub(crate) type Members<'a> = &'a dyn Fn(RoomId, &PeerId) -> bool;

/// The user's services. Cloning gives another handle to the same registry.
#[derive(Debug, Clone)]
pub(crate) struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    services: RwLock<BTreeMap<String, Arc<Entry>>>,
    changed: watch::Sender<u64>,
}

/// One provided service.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its full name.
    pub(super) name: String,
    pub(super) provider: Provider,
    pub(super) limits: ServiceLimits,
    /// Cancelled when it is withdrawn.
    pub(super) withdrawn: CancellationToken,
    allow: Vec<Allow>,
    running: Mutex<Running>,
}

/// The calls that run now.
#[derive(Debug, Default)]
struct Running {
    total: usize,
    by_caller: BTreeMap<PeerId, usize>,
}

/// The right to make one call, which counts as running until this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(super) service: Arc<Entry>,
    caller: PeerId,
}

/// Why a call is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No such service, or not for this caller.
    Refused,
    /// Too many calls at once.
    Busy,
}

impl Refusal {
    /// Returns the frame that tells the caller.
    pub(crate) fn opened(self) -> Opened {
        match self {
            Self::Refused => Opened::Refused,
            Self::Busy => Opened::Busy,
        }
    }
}

impl Default for Registry {
    fn default() -> Self {
        let (changed, _) = watch::channel(0);
        Self(Arc::new(Inner { services: RwLock::default(), changed }))
    }
}

impl Registry {
    /// Provides a service until the returned value is dropped. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name, a target or a limit that cannot be; [`Error::Denied`] for a
    /// name that is built in or taken, and for one service too many.
    pub(crate) fn provide(&self, offer: Offer) -> Result<Provided> {
        let entry = Arc::new(Entry::new(offer)?);
        self.insert(&entry)?;
        let withdraw = entry.withdrawn.clone();
        let inner = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            entry.withdrawn.cancelled().await;
            if let Some(inner) = inner.upgrade() {
                Self(inner).remove(&entry);
            }
        });
        Ok(Provided { _withdraw: withdraw.drop_guard() })
    }

    /// Returns the services of the user that this caller may call, by name.
    pub(crate) fn offers_to(
        &self,
        caller: &Caller,
        members: Members<'_>,
    ) -> Vec<ServiceDescriptor> {
        let services = self.current().into_iter();
        let offered = services.filter(|entry| entry.permits(caller, members));
        offered.map(|entry| entry.descriptor()).collect()
    }

    /// Returns all services of the user, by name.
    pub(crate) fn list(&self) -> Vec<ServiceInfo> {
        let services = self.current().into_iter().map(|entry| entry.descriptor());
        services
            .map(|ServiceDescriptor { name, stream }| ServiceInfo { name, stream, builtin: false })
            .collect()
    }

    /// Returns a number that grows whenever a service is provided or withdrawn.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Admits one call of the service with this full name, or says why not.
    pub(crate) fn admit(
        &self,
        name: &str,
        caller: &Caller,
        members: Members<'_>,
    ) -> Result<Admitted, Refusal> {
        let service = self.read().get(name).cloned().ok_or(Refusal::Refused)?;
        if service.withdrawn.is_cancelled() || !service.permits(caller, members) {
            return Err(Refusal::Refused);
        }
        Entry::start(service, caller.peer)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<Entry>>> {
        self.0.services.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Vec<Arc<Entry>> {
        let withdrawn = |entry: &Arc<Entry>| entry.withdrawn.is_cancelled();
        self.read().values().filter(|entry| !withdrawn(entry)).cloned().collect()
    }

    fn insert(&self, entry: &Arc<Entry>) -> Result<()> {
        let mut services = self.0.services.write().unwrap_or_else(PoisonError::into_inner);
        services.retain(|_, entry| !entry.withdrawn.is_cancelled());
        if services.contains_key(&entry.name) {
            let name = &entry.name;
            return Err(Error::Denied(format!("the service {name} is provided already")));
        }
        if services.len() >= MAX_PROVIDED {
            let sentence = format!("a node provides at most {MAX_PROVIDED} services at once");
            return Err(Error::Denied(sentence));
        }
        services.insert(entry.name.clone(), entry.clone());
        drop(services);
        self.0.changed.send_modify(|changes| *changes += 1);
        Ok(())
    }

    /// Removes this very service; another one may have its name by now.
    fn remove(&self, entry: &Arc<Entry>) {
        let mut services = self.0.services.write().unwrap_or_else(PoisonError::into_inner);
        if services.get(&entry.name).is_some_and(|found| Arc::ptr_eq(found, entry)) {
            services.remove(&entry.name);
        }
        drop(services);
        self.0.changed.send_modify(|changes| *changes += 1);
    }
}

impl Entry {
    fn new(offer: Offer) -> Result<Self> {
        let Offer { name, allow, provider, limits } = offer;
        let name = full_name(&name)?;
        if proto::service::BUILT_IN.contains(&name.as_str()) {
            return Err(Error::Denied(format!("{name} is a service of ayni itself")));
        }
        if let Provider::Tcp(target) = &provider {
            check_target(target)?;
        }
        check_limits(&limits)?;
        let withdrawn = CancellationToken::new();
        Ok(Self { name, provider, limits, withdrawn, allow, running: Mutex::default() })
    }

    fn descriptor(&self) -> ServiceDescriptor {
        let stream = matches!(self.provider, Provider::Tcp(_));
        ServiceDescriptor { name: self.name.clone(), stream }
    }

    fn permits(&self, caller: &Caller, members: Members<'_>) -> bool {
        self.allow.iter().any(|allow| match allow {
            Allow::Peer(peer) => *peer == caller.peer,
            Allow::Account(account) => caller.account == Some(*account),
            Allow::Room(room) => members(*room, &caller.peer),
            Allow::Anyone => true,
        })
    }

    fn start(service: Arc<Self>, caller: PeerId) -> Result<Admitted, Refusal> {
        let most = service.limits.concurrency;
        let mut running = service.running();
        let own = running.by_caller.get(&caller).copied().unwrap_or(0);
        if running.total >= most || own >= most - most / SHARE_FOR_OTHERS {
            return Err(Refusal::Busy);
        }
        running.total += 1;
        running.by_caller.insert(caller, own + 1);
        drop(running);
        Ok(Admitted { service, caller })
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut running = self.service.running();
        running.total = running.total.saturating_sub(1);
        match running.by_caller.get_mut(&self.caller) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(running.by_caller.remove(&self.caller)),
        }
    }
}

/// Completes and checks the name of a service.
pub(super) fn full_name(name: &str) -> Result<String> {
    proto::service_name(name).ok_or_else(|| {
        Error::Invalid(format!(
            "{name:?} is not the name of a service: up to 64 of a-z, 0-9, '-', '_', '.', \
             and perhaps /VERSION"
        ))
    })
}

fn check_target(target: &str) -> Result<()> {
    let (host, port) = target.rsplit_once(':').unwrap_or_default();
    let valid = !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0);
    let sentence = || format!("{target:?} is not a TCP target: HOST:PORT, such as 127.0.0.1:8080");
    valid.then_some(()).ok_or_else(|| Error::Invalid(sentence()))
}

fn check_limits(limits: &ServiceLimits) -> Result<()> {
    if !(1..=MAX_CONCURRENCY).contains(&limits.concurrency) {
        let sentence = format!("the number of calls at once is 1 to {MAX_CONCURRENCY}");
        return Err(Error::Invalid(sentence));
    }
    if limits.timeout.is_zero() || limits.timeout > MAX_TIMEOUT {
        let hours = MAX_TIMEOUT.as_secs() / 3600;
        let sentence = format!("the time for one call is more than nothing and at most {hours} h");
        return Err(Error::Invalid(sentence));
    }
    Ok(())
}
