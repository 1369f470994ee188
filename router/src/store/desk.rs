//! A desk where tasks of one process come together: each puts down what it wants, and whoever has the turn does it for all
//! who wait, since one statement costs the database about the same for one as for many.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

/// What is wanted (`R`) and what is answered (`A`).
#[derive(Debug)]
pub(super) struct Desk<R, A> {
    waiting: Mutex<Vec<Request<R, A>>>,
    turn: Semaphore,
}

/// What one task wants. Dropped without an answer: it is to do it alone.
#[derive(Debug)]
pub(super) struct Request<R, A> {
    pub wanted: R,
    answer: oneshot::Sender<A>,
}

/// What comes to a task that waits.
pub(super) enum Next<'a, A> {
    Answer(A),
    /// It has the turn: it takes what waits, its own among it, and asks again.
    Turn(SemaphorePermit<'a>),
    /// Somebody else had its request and could not do it.
    Alone,
}

impl<R, A> Request<R, A> {
    /// A task that went away meanwhile needs no answer.
    pub fn answer(self, answer: A) {
        self.answer.send(answer).ok();
    }
}

impl<R, A> Desk<R, A> {
    pub fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            turn: Semaphore::new(1),
        }
    }

    /// Puts a request down.
    pub fn put(&self, wanted: R) -> oneshot::Receiver<A> {
        let (answer, answered) = oneshot::channel();
        self.waiting().push(Request { wanted, answer });
        answered
    }

    /// Waits for the answer, or for the turn.
    pub async fn next(&self, answered: &mut oneshot::Receiver<A>) -> Next<'_, A> {
        tokio::select! {
            biased;
            answer = answered => answer.map_or(Next::Alone, Next::Answer),
            // Nobody closes the semaphore.
            turn = self.turn.acquire() => turn.map_or(Next::Alone, Next::Turn),
        }
    }

    /// Takes those who came first: the first, and as many more as `size` says that fit into `room`.
    pub fn take(&self, room: usize, size: impl Fn(&R) -> usize) -> Vec<Request<R, A>> {
        let mut waiting = self.waiting();
        waiting.retain(|request| !request.answer.is_closed());
        let mut taken = 0;
        let fit = waiting.iter().take_while(|request| {
            let first = taken == 0;
            taken += size(&request.wanted).max(1);
            first || taken <= room
        });
        let fit = fit.count();
        waiting.drain(..fit).collect()
    }

    /// A list is whole after every statement, so a panic elsewhere leaves nothing half done in it.
    fn waiting(&self) -> MutexGuard<'_, Vec<Request<R, A>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_has_the_turn_answers_for_all() {
        let desk: Desk<usize, usize> = Desk::new();
        let mut first = desk.put(3);
        let mut second = desk.put(4);
        drop(desk.put(5));
        let Next::Turn(turn) = desk.next(&mut first).await else {
            panic!("nobody else has the turn");
        };
        for request in desk.take(100, |_| 1) {
            let doubled = request.wanted * 2;
            request.answer(doubled);
        }
        drop(turn);
        assert!(matches!(desk.next(&mut second).await, Next::Answer(8)));
        assert!(matches!(desk.next(&mut first).await, Next::Answer(6)));
    }

    #[tokio::test]
    async fn who_gets_no_answer_goes_alone() {
        let desk: Desk<(), ()> = Desk::new();
        let mut one = desk.put(());
        drop(desk.take(1, |()| 1));
        assert!(matches!(desk.next(&mut one).await, Next::Alone));
    }

    #[test]
    fn what_does_not_fit_waits_and_the_first_always_fits() {
        let desk: Desk<usize, ()> = Desk::new();
        let answers = [70, 20, 20, 5].map(|size| desk.put(size));
        let taken = |room| {
            let taken = desk.take(room, |size| *size);
            taken
                .iter()
                .map(|request| request.wanted)
                .collect::<Vec<_>>()
        };
        assert_eq!(taken(50), [70]);
        assert_eq!(taken(39), [20]);
        assert_eq!(taken(50), [20, 5]);
        assert!(taken(50).is_empty());
        drop(answers);
    }
}
