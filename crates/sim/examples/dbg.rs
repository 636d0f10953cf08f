use ayni_sim::{scenarios::scenario, world::{World,START}};
fn main(){
    let mut a=std::env::args().skip(1);
    let s=scenario(&a.next().unwrap()).unwrap(); let seed:u64=a.next().unwrap().parse().unwrap();
    let mut w=World::new(s,seed);
    let mut t=START+s.span_ms;
    w.run_until(t);
    for _ in 0..12 { t+=7000; w.run_until(t);
        println!("t+{} over {} bytes {:?}", (t-START-s.span_ms)/1000, w.is_over(), w.network().sent());
        for (n,p) in w.peers().iter().enumerate() {
            let st=p.room().map(|r| (r.am_member(), r.missing_secrets().len(), u32::from_be_bytes(r.state_hash()[..4].try_into().unwrap())));
            println!("  {n} run {} {:?} ctl {} chat {} sess {:?} conn {:?} ref {:?}", p.is_running(), st, p.store().control().len(), p.store().chat().count(), p.sessions(), (0..w.peers().len()).filter(|o| w.network().is_up(n,*o)).collect::<Vec<_>>(), p.counts().refused);
        }
    }
}
