// SPDX-License-Identifier: MIT
/*
 * core.pml - the notifier: slots, counts, the walk, insert and remove (G1-G4).
 *
 * Covers src/notifier/{invalidate,slot,insert,read}.c at sequential consistency; that the
 * orders of the code give that is models/relacy's. A step in d_step is one access that others
 * can see, or what is done under one hold of mm's lock; waiting for a count or a hazard is a
 * guard here (that nobody sleeps on is wait.pml, event.pml and lock.pml).
 *
 * A change (Inv) is of the ranges in its mask; a driver has one subscription: inserts it,
 * reads and installs, drops its shadow, removes it. An Inv's slot is its own; a callback's
 * invalidation is one more process, for which its caller waits.
 *
 *	shape 0	one subscription, two changes of it at once, one twice
 *	shape 1	two subscriptions, a change of both, one of the second
 *	shape 2	a callback that changes the other's range
 *	shape 3	a change of both that must not sleep, and another
 *	shape 4	changes of another range without end, a driver (G4)
 *	shape 5	a change that ends only after its subscription was removed
 *	shape 6	a slot's two uses have different ranges
 *	shape 7	as 0, one time each
 */
#define LINES(X) \
	X(TWO, "two changes of one range", 7, safety, clean) \
	X(BOTH, "a change of two ranges, and of one", 1, safety, clean) \
	X(NESTED, "a callback that changes another range", 2, safety, clean) \
	X(NONBLOCK, "one that must not sleep", 3, safety, clean) \
	X(OTHERS, "changes of another range for ever: reads begin", 4, begins, clean) \
	X(OTHERS_REMOVE, "the same: remove returns", 4, removes, clean) \
	X(OPEN_REMOVE, "remove while it is open", 5, safety, clean) \
	X(REUSE, "a slot's two uses", 6, safety, clean) \
	X(NESTED_REMOVES_BIG, "nested: remove returns", 102, removes, clean) \
	X(BEGUN_FIRST_BIG, "spare: begun is loaded before ended: only a needless retry", 107, safety, clean) \
	X(TWO_BEGINS_BIG, "two changes of one range: reads begin", 107, begins, clean) \
	X(TWO_BIG, "two changes, twice each", 100, safety, clean) \
	X(NONBLOCK_BIG, "two that must not sleep", 103, safety, clean) \
	X(NO_RETRY, "no retry (meeting 1)", 0, safety, assert) \
	X(NO_WAIT, "no wait for what is open (meeting 3)", 0, safety, assert) \
	X(START_ONLY, "the end does not count (HMM's old bug)", 0, safety, assert) \
	X(CALLBACK_SKIPPED, "no callback (meeting 2)", 0, safety, assert) \
	X(CALLBACK_UNLOCKED, "a callback without the driver lock", 0, safety, assert) \
	X(CALLBACK_FIRST, "begun moves after the callback", 0, safety, assert) \
	X(RETRY_FIRST, "retry is asked before the driver lock", 0, safety, assert) \
	X(CHANGE_LATE, "the change after its end", 0, safety, assert) \
	X(INSERT_IGNORES_OPEN, "insert does not look at what is open", 0, safety, assert) \
	X(SCAN_FIRST, "insert looks, then announces", 0, safety, assert) \
	X(SUMMARY_FIRST, "start reads the summary, then takes its slot", 0, safety, assert) \
	X(NO_LIMIT, "the walk counts who counted itself", 0, safety, stuck) \
	X(NO_PIN, "attach leaves no pin", 0, safety, stuck) \
	X(PIN_STAYS, "over, and the pin stays", 0, safety, assert) \
	X(NOT_ASKED, "pinned, and not asked whether it is still open", 0, safety, stuck) \
	X(LOOK_FIRST, "end looks at the pin, then turns ENDING", 0, safety, stuck) \
	X(END_BLIND, "end does not look at the pin", 0, safety, stuck) \
	X(ENDING_IS_OVER, "who finds it pinned and ENDING does not count himself", 1, safety, assert) \
	X(END_TRUSTS_PIN, "with the lock, end does not ask whether it was counted", 0, safety, assert) \
	X(END_COUNTS_LATE, "end counts who came after it turned ENDING", 0, safety, assert) \
	X(HEAL_DROPS, "a false alarm clears a watched cell", 6, safety, assert) \
	X(SINGLE_GONE, "end trusts the only one found, though it was removed", 5, safety, assert) \
	X(NO_GENERATION, "a slot's uses look alike", 6, safety, stuck) \
	X(NO_HAZARD_RECHECK, "no second look before a callback", 1, safety, assert) \
	X(REMOVE_NO_WAIT, "remove does not wait for callbacks", 0, safety, assert) \
	X(REMOVE_WAITS_END, "remove waits for the end", 5, safety, stuck) \
	X(CALLS_GONE, "after a removal the batch goes on", 1, safety, assert) \
	X(EAGAIN_NO_UNDO, "a refused start leaves its counts", 3, begins, cycle) \
	X(EAGAIN_NO_UNDO_STUCK, "the same, seen as an end state", 3, safety, stuck) \
	X(EAGAIN_CHANGES, "refused, and changed all the same", 3, safety, assert) \
	X(WAITS_ANY, "a reader waits for other ranges, too", 4, begins, cycle) \
	X(REMOVE_WAITS_ANY, "remove waits for other ranges, too", 4, removes, cycle) \
	X(BEGIN_UNDER_LOCK, "read_begin under the driver lock", 0, safety, stuck) \
	X(REMOVE_UNDER_LOCK, "remove under the driver lock", 0, safety, stuck) \
	X(ZAP_LATE, "the shadow is dropped after remove", 0, safety, assert)
#include "lines.pml"

#define NSUB 2
#define NV 4 /* invalidations that can be open */
#define NO_LIMIT_YET 255
#define BIT(s) (1 << (s))

mtype = { FREE, BUSY, OPEN, ENDING };

/* A slot and what its owner has in struct hmmu_inv. */
mtype state[NV] = FREE;
bool attached[NV];
byte gen[NV], pinned[NV], rng[NV], limit[NV], elimit[NV], progress[NV], hazard[NV];
byte single[NV], single_removals[NV];
bool walked[NV], ending[NV];
bool over[NV]; /* ghost: the process is */

/* mm */
byte mm; /* its lock; pid + 1 */
byte removals, next_id = 1, summary, tree, nv = 1;

/* Subscriptions, and their drivers. */
byte id[NSUB], begun[NSUB], ended[NSUB];
byte driver[NSUB]; /* its lock */
byte shadow[NSUB], truth[NSUB]; /* a translation; 0 none */
bool freed[NSUB];
byte sum[NSUB]; /* ghost: how many count it and are not over */

/* Ghosts of driver 0, for the formulas. */
bool reading, removing;
byte finished;

#define LOCKED(s) (driver[s] != 0)
#define NEXT(x) ((x) + 1) & 7
#define USE(v) (gen[v] + 1) /* never 0 */

/* With the lock: nobody has counted himself yet. */
inline begin_counting(v)
{
	limit[v] = NO_LIMIT_YET;
	progress[v] = 0;
	single[v] = 0;
	walked[v] = false;
	ending[v] = false;
	attached[v] = false
}

inline count_open(s)
{
	begun[s] = NEXT(begun[s]);
	if
	:: M(START_ONLY) -> ended[s] = NEXT(ended[s])
	:: else
	fi
}

/* With the lock. */
inline walk_next(v, mask)
{
	todo = 0;
	again = false;
	for (i : 0 .. NSUB - 1) {
		if
		:: (tree & mask & BIT(i)) && i >= called && id[i] < limit[v] ->
			if
			:: progress[v] <= i ->
				if
				:: !M(CALLBACK_FIRST) -> count_open(i)
				:: else
				fi;
				progress[v] = i + 1
			:: else
			fi;
			todo = todo | BIT(i)
		:: else
		fi
	}
	seen = removals;
	hazard[v] = (todo & 1 -> 1 : (todo & 2 -> 2 : 0));
	first = true;
	i = 0
}

/* Without the lock, under a hazard. */
inline callback(v, k)
{
	assert(!freed[k]);
	if
	:: M(CALLBACK_SKIPPED)
	:: M(CALLBACK_UNLOCKED) -> shadow[k] = 0
	:: else ->
		if
		:: nb -> d_step {
				if
				:: driver[k] == 0 -> driver[k] = _pid
				:: else -> ok = false
				fi
			}
		:: else -> d_step { driver[k] == 0 -> driver[k] = _pid }
		fi;
		if
		:: ok -> d_step {
				assert(!freed[k]);
				shadow[k] = 0;
				driver[k] = 0
			}
		:: else
		fi
	fi;
	d_step {
		if
		:: M(CALLBACK_FIRST) -> count_open(k)
		:: else
		fi
	}
	if
	:: nest && ok ->
		over[v + 2] = false;
		run Inv(v + 2, 3 - BIT(k), 0, 1, false, false, false);
		over[v + 2];
		assert(!freed[k])
	:: else
	fi
}

inline walk(v, mask)
{
	/* L:WK1 the first round, with the lock */
	d_step {
		mm == 0 ->
		if
		:: pinned[v] != USE(v) -> begin_counting(v); pinned[v] = USE(v)
		:: else
		fi;
		if
		:: limit[v] > next_id -> limit[v] = next_id
		:: else
		fi;
		walked[v] = true;
		called = 0;
		walk_next(v, mask);
		single[v] = (todo == 1 || todo == 2 -> todo : 0);
		single_removals[v] = seen;
		/* L:WK3 a false alarm heals */
		if
		:: todo == 0 && (M(HEAL_DROPS) || !(tree & mask)) ->
			summary = summary & (3 - mask)
		:: else
		fi
	}
	do
	:: todo != 0 ->
		d_step { k = (todo & 1 -> 0 : 1) };
		if
		:: !first ->
			/* L:HZ1 publish whom it calls */
			hazard[v] = k + 1;
			/* L:HZ2 then look whether anybody was removed */
			if
			:: removals != seen && !M(NO_HAZARD_RECHECK) ->
				again = true;
				if
				:: !M(CALLS_GONE) -> todo = 0
				:: else
				fi
			:: else
			fi
		:: else -> first = false
		fi;
		if
		:: todo != 0 ->
			callback(v, k);
			d_step {
				called = k + 1;
				todo = (ok -> todo & (3 - BIT(k)) : 0)
			}
		:: else
		fi
	:: todo == 0 && again && ok ->
		/* L:WK2 a later round */
		d_step { mm == 0 -> walk_next(v, mask) }
	:: else -> break
	od;
	hazard[v] = 0
}

inline inv_start(v, mask)
{
	/* L:SL1 FREE -> BUSY */
	d_step {
		ok = true;
		if
		:: M(SUMMARY_FIRST) -> look = (summary & mask) != 0
		:: else -> state[v] = BUSY
		fi;
		gen[v] = (gen[v] + 1) & 3
	}
	/* L:SL2 BUSY -> OPEN */
	d_step {
		rng[v] = mask;
		state[v] = OPEN
	}
	/* L:ST1 the summary, after the claim */
	d_step {
		if
		:: !M(SUMMARY_FIRST) -> look = (summary & mask) != 0
		:: else
		fi
	}
	if
	:: look -> walk(v, mask)
	:: else
	fi
}

/* With the lock. L:EN3 everyone it counted is released */
inline release(v, mask)
{
	for (i : 0 .. NSUB - 1) {
		if
		:: M(START_ONLY) || (M(EAGAIN_NO_UNDO) && !ok) ||
		   (M(EAGAIN_NO_UNDO_STUCK) && !ok)
		:: else ->
			if
			:: single[v] != 0 && (single[v] & BIT(i)) ->
				assert(!freed[i]);
				ended[i] = NEXT(ended[i])
			:: single[v] == 0 && (tree & mask & BIT(i)) &&
			   (id[i] < elimit[v] || M(END_COUNTS_LATE)) &&
			   (id[i] >= limit[v] || i < progress[v]) ->
				/* ended <= begun, always */
				assert(begun[i] != ended[i]);
				ended[i] = NEXT(ended[i])
			:: else
			fi
		fi
	}
	i = 0
}

inline inv_end(v, mask)
{
	if
	:: M(LOOK_FIRST) -> pin = (pinned[v] == USE(v))
	:: else
	fi;
	/* L:EN1 OPEN -> ENDING */
	state[v] = ENDING;
	/* L:EN5 then the pin */
	if
	:: M(LOOK_FIRST)
	:: else -> pin = (pinned[v] == USE(v) && !M(END_BLIND))
	fi;
	if
	:: !pin ->
		/* L:EN6 and then FREE */
		state[v] = FREE
	:: else ->
		d_step {
			mm == 0 ->
			if
			:: pinned[v] != USE(v) && !M(END_TRUSTS_PIN) ->
				/* L:EN7 it was over before anybody had counted himself */
				state[v] = FREE
			:: else ->
				/* L:EN2 everyone it counted is released, with the lock */
				if
				:: !walked[v] || attached[v] -> single[v] = 0
				:: removals != single_removals[v] && !M(SINGLE_GONE) ->
					single[v] = 0
				:: else
				fi;
				ending[v] = true;
				elimit[v] = next_id;
				if
				:: M(END_COUNTS_LATE)
				:: else -> release(v, mask)
				fi
			fi
		}
		if
		:: state[v] == ENDING ->
			if
			:: M(END_COUNTS_LATE) -> d_step { mm == 0 -> release(v, mask) }
			:: else
			fi;
			/* L:EN4 ENDING -> FREE, with the lock */
			d_step { mm == 0 -> state[v] = FREE }
		:: else
		fi
	fi
}

/* The translations of @mask become others. */
inline change(mask)
{
	d_step {
		for (i : 0 .. NSUB - 1) {
			if
			:: mask & BIT(i) ->
				truth[i] = (truth[i] % 6) + 1;
				/* G1: nothing that is about to become wrong is held. */
				assert(shadow[i] == 0 || shadow[i] == truth[i])
			:: else
			fi
		}
		i = 0
	}
}

/* @rounds: 255 for ever. @other: the mask of every second round; 0: the same. */
proctype Inv(byte v; byte mask; byte other; byte rounds; bool nest; bool nb; bool hold)
{
	byte i, k, todo, called, seen, t;
	bool ok, look, first, again, pin;

	do
	:: rounds > 0 ->
		inv_start(v, mask);
		if
		:: ok || M(EAGAIN_CHANGES) ->
			if
			:: hold -> freed[0]
			:: else
			fi;
			if
			:: !M(CHANGE_LATE) -> change(mask)
			:: else
			fi
		:: else
		fi;
		inv_end(v, mask);
		d_step {
			if
			:: M(CHANGE_LATE) -> 
				truth[0] = (truth[0] % 6) + 1;
				assert(shadow[0] == 0 || shadow[0] == truth[0])
			:: else
			fi;
			if
			:: other != 0 -> t = mask; mask = other; other = t
			:: else
			fi;
			if
			:: rounds < 255 -> rounds--
			:: else
			fi
		}
	:: else -> break
	od;
	atomic { over[v] = true; finished = finished + (v < 2 -> 1 : 0) }
}

/* L:IN1 with the lock: announced before the slots are looked at */
inline announce(s)
{
	summary = summary | BIT(s)
}

inline join_tree(s)
{
	d_step {
		tree = tree | BIT(s);
		if
		:: M(SCAN_FIRST)
		:: else -> id[s] = next_id; next_id++
		fi
	}
}

/* With the lock, pinned. */
inline attach_inv(v, s)
{
	/* Its owner is there, and will be until it has had the lock. */
	assert(state[v] == OPEN || state[v] == ENDING);
	if
	:: !ending[v] ->
		/* L:AT3 its walk is for those before us */
		if
		:: !walked[v] && id[s] < limit[v] && !M(NO_LIMIT) -> limit[v] = id[s]
		:: else
		fi;
		attached[v] = true;
		begun[s] = NEXT(begun[s])
	:: else
	fi
}

inline attach(s)
{
	v = 0;
	do
	:: v < nv && !M(INSERT_IGNORES_OPEN) ->
		/* L:AT1 open, and mine? */
		d_step {
			look = ((state[v] == OPEN || state[v] == ENDING) && (rng[v] & BIT(s)));
			over_already = (state[v] == ENDING);
			g = USE(v)
		}
		if
		:: look && pinned[v] == g && !(M(ENDING_IS_OVER) && over_already) ->
			/* L:AT4 its end waits for the lock, or will */
			d_step { attach_inv(v, s) }
		:: look && pinned[v] != g && !over_already ->
			/* L:AT5 pinned, before it is sure */
			d_step {
				if
				:: !M(NO_PIN) -> pinned[v] = g
				:: else
				fi
			}
			/* L:AT2 behind a barrier: still open? */
			d_step {
				if
				:: (state[v] == OPEN && (USE(v) == g || M(NO_GENERATION))) ||
				   (M(NOT_ASKED) && state[v] != FREE) ->
					begin_counting(v);
					attach_inv(v, s)
				:: else ->
					if
					:: M(PIN_STAYS)
					:: else -> pinned[v] = 0
					fi
				fi
			}
		:: else
		fi;
		v++
	:: else -> break
	od
}

inline insert(s)
{
	d_step { mm == 0 -> mm = _pid };
	if
	:: M(SCAN_FIRST) ->
		d_step { id[s] = next_id; next_id++ };
		attach(s);
		mm = 0;
		d_step { mm == 0 -> mm = _pid };
		announce(s);
		join_tree(s)
	:: else ->
		announce(s);
		/* L:IN2 the tree, then what is open */
		join_tree(s);
		attach(s)
	fi;
	mm = 0
}

inline read_begin(s)
{
	if
	:: s == 0 -> reading = true
	:: else
	fi;
	do
	:: true ->
		/* L:RD1 ended, then begun */
		if
		:: M(BEGUN_FIRST_BIG) -> q = begun[s]; e = ended[s]
		:: else -> e = ended[s]; q = begun[s]
		fi;
		if
		:: M(WAITS_ANY) -> state[0] == FREE
		:: else
		fi;
		if
		:: e == q || M(NO_WAIT) -> break
		:: else
		fi;
		/* L:RD2 asleep on ended: wait.pml */
		d_step { mm == 0 -> e = ended[s]; look = (e != begun[s]) };
		if
		:: look -> ended[s] != e
		:: else
		fi
	od;
	if
	:: s == 0 -> reading = false
	:: else
	fi
}

proctype Driver(byte s; byte faults)
{
	byte e, g, q, t, v;
	bool look, collided, over_already;

	insert(s);
	do
	:: faults > 0 ->
again:		if
		:: M(BEGIN_UNDER_LOCK) -> d_step { driver[s] == 0 -> driver[s] = _pid }
		:: else
		fi;
		read_begin(s);
		t = truth[s];
		if
		:: M(RETRY_FIRST) -> collided = (begun[s] != q)
		:: else
		fi;
		if
		:: M(BEGIN_UNDER_LOCK)
		:: else -> d_step { driver[s] == 0 -> driver[s] = _pid }
		fi;
		/* L:RD3 begun unmoved? */
		d_step {
			if
			:: M(RETRY_FIRST)
			:: M(NO_RETRY) -> collided = false
			:: else -> collided = (begun[s] != q)
			fi
		}
		d_step {
			if
			:: !collided ->
				/* G1: what is installed is the truth. */
				assert(t == truth[s]);
				shadow[s] = t
			:: else
			fi;
			driver[s] = 0
		}
		if
		:: collided -> goto again
		:: else
		fi;
		faults--
	:: else -> break
	od;
	if
	:: M(ZAP_LATE)
	:: else -> d_step { driver[s] == 0 -> shadow[s] = 0 }
	fi;
	if
	:: M(REMOVE_UNDER_LOCK) -> d_step { driver[s] == 0 -> driver[s] = _pid }
	:: else
	fi;
	d_step {
		if
		:: s == 0 -> removing = true
		:: else
		fi
	}
	if
	:: M(REMOVE_WAITS_END) -> begun[s] == ended[s]
	:: M(REMOVE_WAITS_ANY) -> state[0] == FREE
	:: else
	fi;
	/* L:RM1 off the tree, and counted, with the lock */
	d_step {
		mm == 0 ->
		tree = tree & (3 - BIT(s));
		removals++;
		ended[s] = begun[s]
	}
	v = 0;
	do
	:: v < nv && !M(REMOVE_NO_WAIT) ->
		/* L:RM2 then the hazards */
		d_step { hazard[v] != s + 1 -> v++ }
	:: else -> break
	od;
	atomic {
		freed[s] = true;
		if
		:: s == 0 -> removing = false
		:: else
		fi;
		finished++
	}
}

init
{
	byte n;

	d_step {
		truth[0] = 1;
		truth[1] = 1
	}
	atomic {
		if
		:: SHAPE(0) -> n = 3; nv = 2;
			run Driver(0, 1); run Inv(0, 1, 0, 2, 0, 0, 0); run Inv(1, 1, 0, 1, 0, 0, 0)
		:: SHAPE(1) -> n = 3; nv = 1;
			run Driver(0, 0); run Driver(1, 1); run Inv(0, 3, 0, 1, 0, 0, 0)
		:: SHAPE(2) || SHAPE(102) -> n = 3; nv = 3;
			run Driver(0, 1); run Driver(1, 0); run Inv(0, 1, 0, 1, 1, 0, 0)
		:: SHAPE(3) -> n = 3; nv = 1;
			run Driver(0, 1); run Driver(1, 0); run Inv(0, 3, 0, 1, 0, 1, 0)
		:: SHAPE(4) -> n = 255; nv = 1; tree = 2; summary = 2; id[1] = 1; next_id = 2;
			run Driver(0, 1); run Inv(0, 2, 0, 255, 0, 0, 0)
		:: SHAPE(5) -> n = 2; nv = 1;
			run Driver(0, 0); run Inv(0, 1, 0, 1, 0, 0, 1)
		:: SHAPE(6) -> n = 2; nv = 1;
			run Driver(0, 1); run Inv(0, 1, 2, 3, 0, 0, 0)
		:: SHAPE(7) || SHAPE(107) -> n = 3; nv = 2;
			run Driver(0, 1); run Inv(0, 1, 0, 1, 0, 0, 0); run Inv(1, 1, 0, 1, 0, 0, 0)
		:: SHAPE(100) -> n = 3; nv = 2;
			run Driver(0, 1); run Inv(0, 1, 0, 2, 0, 0, 0); run Inv(1, 1, 0, 2, 0, 0, 0)
		:: SHAPE(103) -> n = 3; nv = 2;
			run Driver(0, 1); run Inv(0, 1, 0, 1, 0, 1, 0); run Inv(1, 1, 0, 1, 0, 1, 0)
		fi
	}
	/* All is over, and nothing is left open. */
	finished == n && begun[0] == ended[0] && begun[1] == ended[1] && tree == 0 &&
		state[0] == FREE && state[1] == FREE
}

ltl begins { [] (reading -> <> !reading) }
ltl removes { [] (removing -> <> !removing) }
