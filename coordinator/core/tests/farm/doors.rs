//! Who is let in, once, and what the book says after a change of leader.

use croft_core::{
    audit::{Entry, Filter},
    ids::WorkerId,
    invitation::Refused,
    step::{Event, Times},
    time::Time,
};

use crate::house::{House, job_of};

fn invite(house: &mut House, hash: &str, expires: Time) {
    let name = "spiffe://croft/worker/ws-1".to_owned();
    house.happens(Event::Invited { hash: hash.to_owned(), name, expires });
}

fn show(house: &mut House, hash: &str, request: &str) -> Result<String, Refused> {
    house.happens(Event::InvitationShown { hash: hash.to_owned(), request: request.to_owned() });
    house.farm.admitted(house.now, hash, request).map(str::to_owned)
}

#[test]
fn of_two_who_show_one_invitation_in_the_same_batch_one_is_let_in() {
    let mut house = House::new();
    let expires = house.now.plus_ms(60_000);
    invite(&mut house, "h", expires);
    house.ticking = false;
    for request in ["first", "second"] {
        house.happens(Event::InvitationShown { hash: "h".to_owned(), request: request.to_owned() });
    }
    house.ticking = true;
    house.happens(Event::Tick);
    assert_eq!(house.farm.admitted(house.now, "h", "first"), Ok("spiffe://croft/worker/ws-1"));
    assert_eq!(house.farm.admitted(house.now, "h", "second"), Err(Refused::Spent));
}

#[test]
fn an_invitation_ends_with_its_time_and_a_spent_one_stays_spent_for_the_next_leader() {
    let mut house = House::new();
    assert_eq!(show(&mut house, "h", "a"), Err(Refused::Unknown));
    let expires = house.now.plus_ms(60_000);
    invite(&mut house, "h", expires);
    invite(&mut house, "late", expires);
    assert!(show(&mut house, "h", "a").is_ok());
    house.restarts();
    assert_eq!(show(&mut house, "h", "b"), Err(Refused::Spent));
    house.wait_ms(60_000);
    assert_eq!(show(&mut house, "late", "c"), Err(Refused::Expired));
}

#[test]
fn the_book_is_there_after_a_restart_and_goes_on() {
    let mut house = House::new();
    for at in 0..200 {
        let entry = Entry {
            who: "user/kim".to_owned(),
            method: "Jobs/CancelJob".to_owned(),
            resource: format!("jobs/{at}"),
            result: if at % 3 == 0 { "PERMISSION_DENIED" } else { "OK" }.to_owned(),
            ..Entry::default()
        };
        house.happens(Event::Noted(Box::new(entry)));
    }
    let all = |house: &House| house.farm.audit(&Filter::default(), None, 1_000).0;
    let before = all(&house);
    assert_eq!((before.len(), before[0].entry.resource.as_str()), (200, "jobs/199"));
    house.restarts();
    assert_eq!(all(&house), before);
    house.happens(Event::Noted(Box::new(Entry { result: "OK".to_owned(), ..Entry::default() })));
    assert_eq!(all(&house)[0].number, before[0].number + 1);
}

#[test]
fn a_worker_that_reports_on_anothers_attempt_is_seen() {
    let mut house = House::new();
    house.submit(&job_of(1));
    house.join("w1", 1);
    let started = house.one_started();
    let stranger = house.rejoin("w2", 0, "w2", Vec::new());
    let report = |session| Event::AttemptSaved {
        session,
        attempt: started.attempt.clone(),
        rank: 0,
        artifacts: Vec::new(),
        times: Times::default(),
        peak_bytes: 0,
    };
    assert!(house.farm.is_anothers(&report(stranger)));
    assert!(!house.farm.is_anothers(&report(started.session)));
    let named = |name| WorkerId::new(name).expect("a name");
    assert_eq!(house.farm.anothers(&started.attempt, &named("w2")), Some(named("w1")));
    assert_eq!(house.farm.anothers(&started.attempt, &named("w1")), None);
}
