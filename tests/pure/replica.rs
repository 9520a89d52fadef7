//! Operators that look at the cluster of [`crate::play`]: they are told of it late or in another order, ask the rules,
//! and do what the rules say.

use std::sync::Arc;

use jiff::Timestamp;
use lotest::engine::index::Index;
use lotest::engine::notice::Notice;
use lotest::engine::render::text;
use lotest::engine::rule::Act;
use lotest::engine::verdict::{Verdict, evaluate};
use serde_json::Value;

use crate::play::{Cluster, News, STARTED};
use crate::support::merge;

/// What an operator knows.
pub struct Replica {
    pub index: Index,
    n: usize,
}

/// What came of a look.
#[derive(Debug)]
pub struct Look {
    /// The last verdict, which changed nothing any more.
    pub verdict: Verdict,
    pub events: Vec<Notice>,
}

/// More writes than this at one time mean that the rules never come to rest.
const MAX_WRITES: usize = 6;

impl Replica {
    /// Is told of everything from the beginning on.
    pub fn new(cluster: &Cluster, n: usize) -> Replica {
        let index = Index::new(Arc::clone(&cluster.bundle));
        let mut replica = Replica { index, n };
        replica.index.apply_test(cluster.test.clone());
        replica.index.set_run(&cluster.key(), STARTED.1.run(None));
        replica
    }

    /// Starts now. `order` is that in which it is told of children and pods.
    pub fn start(cluster: &Cluster, order: &[usize]) -> Replica {
        let index = Index::new(Arc::clone(&cluster.bundle));
        let mut replica = Replica {
            index,
            n: usize::MAX,
        };
        replica.index.apply_test(cluster.test.clone());
        let mut all: Vec<&Value> = cluster
            .children
            .values()
            .chain(cluster.pods.values())
            .collect();
        for n in order {
            if !all.is_empty() {
                let object = all.swap_remove(n % all.len());
                replica.apply(object, cluster.now);
            }
        }
        for object in all {
            replica.apply(object, cluster.now);
        }
        replica.index.set_run(&cluster.key(), STARTED.1.run(None));
        replica
    }

    /// Starts now in the place of another, and is told of what follows.
    pub fn restart(cluster: &mut Cluster, n: usize, order: &[usize]) -> Replica {
        cluster.untold[n] = Default::default();
        let started = Replica::start(cluster, order);
        Replica { n, ..started }
    }

    fn apply(&mut self, object: &Value, now: Timestamp) {
        if text(object, "/kind") == "Pod" {
            self.index.apply_pod(object, now);
        } else {
            self.index.apply_child(object, now);
        }
    }

    /// Is told the next news of a watch, at most so many.
    pub fn hear(&mut self, cluster: &mut Cluster, watch: usize, at_most: usize) {
        let Some(untold) = cluster.untold.get_mut(self.n) else {
            return;
        };
        for _ in 0..at_most {
            match untold[watch].pop_front() {
                None => return,
                Some(News::Test(test)) => drop(self.index.apply_test(test)),
                Some(News::Child(child)) => drop(self.index.apply_child(&child, cluster.now)),
                Some(News::ChildGone(child)) => {
                    self.index.apply_child(&child, cluster.now);
                    self.index.delete_child(&child);
                }
                Some(News::Pod(pod)) => drop(self.index.apply_pod(&pod, cluster.now)),
                Some(News::PodGone(pod)) => drop(self.index.delete_pod(&pod)),
            }
        }
    }

    pub fn hear_all(&mut self, cluster: &mut Cluster) {
        (0..3).for_each(|watch| self.hear(cluster, watch, usize::MAX));
    }

    /// The verdict now; what it needs to know is looked up.
    pub fn judge(&mut self, cluster: &Cluster) -> Verdict {
        self.judge_at(cluster, cluster.now)
    }

    pub fn judge_at(&mut self, cluster: &Cluster, now: Timestamp) -> Verdict {
        let key = cluster.key();
        for _ in 0..MAX_WRITES {
            let verdict = evaluate(&cluster.bundle, self.index.get(&key).unwrap(), now);
            if verdict.questions.is_empty() {
                return verdict;
            }
            for question in verdict.questions {
                let answer = cluster.answer(&question);
                self.index.answer(&key, question, answer, now);
            }
        }
        panic!("the same is asked again and again");
    }

    /// Asks the rules and does what they say until they say nothing new, as the leader does.
    pub fn look(&mut self, cluster: &mut Cluster) -> Look {
        self.hear(cluster, 0, usize::MAX);
        let mut events = Vec::new();
        for _ in 0..MAX_WRITES {
            let verdict = self.judge(cluster);
            assert_eq!(verdict.errors, Vec::<String>::new());
            if let Some(next) = verdict.next {
                assert!(
                    next > cluster.now,
                    "{next} is no later than {}",
                    cluster.now
                );
            }
            let test = self.index.get(&cluster.key()).unwrap();
            let missing = match verdict.terminal {
                true => Vec::new(),
                false => test.missing(&cluster.bundle),
            };
            if !verdict.changed {
                assert_eq!(verdict.events, [], "said without a change of the status");
            }
            if !verdict.changed && missing.is_empty() && verdict.deeds.is_empty() {
                assert_eq!(self.judge(cluster), verdict);
                return Look { verdict, events };
            }
            events.extend(verdict.events);
            if verdict.changed {
                let mut test = cluster.test.clone();
                test["status"] = Value::Object(verdict.status);
                cluster.store(test);
            }
            for child in STARTED
                .1
                .children
                .iter()
                .filter(|c| missing.contains(&c.stem))
            {
                cluster.make(child);
            }
            for deed in verdict.deeds {
                let mut children = cluster.children.iter();
                let found = children.find(|(_, c)| text(c, "/metadata/uid") == deed.object.uid);
                let Some((stem, child)) = found.map(|(s, c)| (s.clone(), c.clone())) else {
                    continue;
                };
                match deed.act {
                    Act::Delete => cluster.remove_child(&stem),
                    Act::Patch(patch) => {
                        let mut child = child;
                        merge(&mut child, &patch);
                        cluster.put_child(&stem, child);
                    }
                }
            }
            self.hear(cluster, 0, usize::MAX);
            self.hear(cluster, 1, usize::MAX);
        }
        panic!(
            "the rules do not come to rest: {:#?}",
            cluster.test["status"]
        );
    }
}
