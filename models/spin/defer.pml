// SPDX-License-Identifier: MIT
/*
 * defer.pml - what was deferred is run once, and before the mm is closed.
 *
 * Covers src/reclaim/reclaim.c, and close in src/notifier/mm.c. Orders: models/relacy/defer.cpp.
 *
 *	defer			reclaimer			close
 *	push			load work			not idle: reclaim, or wait
 *	load asleep		asleep + 1			  for an event
 *	  0: done		look at the stack		[lock] idle? closed
 *	work + 1, wake		  empty: sleep if work is	generation + 1, work + 1, wake
 *				  as loaded; asleep - 1		join
 *		[Required: what was pushed is run, once; nothing is left, nor runs, when
 *		 close returns; close returns]
 *
 *	shape 0	two who defer, the reclaimer, close
 *	shape 1	one who defers, the reclaimer, the application, close
 *	shape 2	a work that returns only when the other one has run
 *	shape 3	as 0, but close waits until all was run by the reclaimer
 *	shape 4	one who defers
 */
#define LINES(X) \
	X(TWO, "two works, close", 0, safety, clean) \
	X(ONE_RUNS, "one work: what was deferred is run", 4, runs, clean) \
	X(ONE_CLOSES, "the same: close returns", 4, closes, clean) \
	X(OWN, "the application reclaims, too", 1, safety, clean) \
	X(WAITING, "a work waits for another one", 2, safety, clean) \
	X(WAITING_CLOSES_BIG, "the same: close returns", 102, closes, clean) \
	X(OWN_RUN_BIG, "the application reclaims: what was deferred is run", 101, runs, clean) \
	X(ASLEEP_FIRST, "defer loads asleep, then pushes", 3, safety, stuck) \
	X(LOOK_FIRST, "looks at the stack, then says that it sleeps", 3, safety, stuck) \
	X(SEEN_LATE, "work is read after the stack", 3, safety, stuck) \
	X(NO_WORK, "work does not move", 3, runs, cycle) \
	X(NO_KICK, "defer does not wake", 3, safety, stuck) \
	X(PUSH_STORE, "push is a load and a store", 3, safety, stuck) \
	X(NO_GENERATION, "a reclaimer that was told to stop sleeps on", 4, closes, cycle) \
	X(NO_DRAIN, "close does not look at what was deferred", 0, safety, assert) \
	X(IDLE_RUNNING, "close does not wait for what runs", 0, safety, assert) \
	X(NO_SIGNAL, "the end of a work wakes nobody", 0, safety, stuck) \
	X(TAKE_ALL, "whoever runs one keeps the others from everybody", 2, safety, stuck) \
	X(TAKE_UNLOCKED, "a work is taken without the lock", 1, safety, assert)
#include "lines.pml"

/* A bit for each work. */
byte stack, fifo, pushed, ran, all;
byte lock, reclaiming, asleep, work, generation, event, waiters, finished, n;
bool closing, closed, waits; /* waits: work 0 waits for work 1 */

#define BIT(i) (1 << (i))

inline kick()
{
	/* L:DF2 after the push: does it sleep? */
	if
	:: asleep > 0 || M(ASLEEP_FIRST) ->
		/* L:DF3 work moves, then it is woken */
		if
		:: M(NO_WORK) || M(NO_KICK)
		:: else -> work = (work + 1) & 7
		fi
	:: else
	fi
}

proctype Defer(byte i)
{
	byte was;
	bool awake;

	d_step {
		awake = (M(ASLEEP_FIRST) && asleep == 0);
		was = stack
	}
	/* L:DF1 the push */
	d_step {
		if
		:: M(PUSH_STORE)
		:: else -> was = stack
		fi;
		stack = was | BIT(i);
		pushed = pushed | BIT(i)
	}
	if
	:: awake
	:: else -> kick()
	fi;
	finished++
}

/* One pass: what is queued now. */
inline reclaim(none)
{
	/* L:RC1 with reclaim_lock: the stack goes behind the queue */
	d_step {
		lock == 0 ->
		fifo = fifo | stack;
		stack = 0;
		left = (fifo & 1) + ((fifo >> 1) & 1) + ((fifo >> 2) & 1)
	}
	none = (left == 0);
	do
	:: left > 0 ->
		/* L:RC2 with reclaim_lock: one at a time */
		w = fifo;
		d_step {
			lock == 0 ->
			if
			:: M(TAKE_UNLOCKED)
			:: else -> w = fifo
			fi;
			w = (M(TAKE_ALL) -> w : (w & 1 -> 1 : (w & 2 -> 2 : w & 4)));
			fifo = fifo & (7 - w);
			if
			:: w -> reclaiming++
			:: else
			fi
		}
		if
		:: w == 0 -> break
		:: else
		fi;
		run_work(w);
		left--
	:: else -> break
	od
}

/* The work's own code, then it is over. */
inline run_work(w)
{
	assert(!closed && !(ran & w));
	if
	:: waits && (w & 1) -> ran & 2
	:: else
	fi;
	assert(!closed);
	ran = ran | w;
	/* L:RC3 with reclaim_lock, then who drains is woken */
	d_step { lock == 0 -> reclaiming-- }
	if
	:: waiters > 0 && !M(NO_SIGNAL) -> event = (event + 1) & 7
	:: else
	fi
}

proctype Reclaimer()
{
	byte left, w, seen;
	bool none;

	do
	:: generation == 0 ->
		/* look(): without anything taken */
		if
		:: stack || fifo -> reclaim(none)
		:: else ->
			/* L:RC4 work, before asleep */
			seen = work;
			none = !(stack || fifo);
			/* L:RC5 it says that it sleeps, then looks */
			asleep++;
			d_step {
				if
				:: M(LOOK_FIRST)
				:: else -> none = !(stack || fifo)
				fi
			}
			d_step {
				if
				:: M(SEEN_LATE) -> seen = work
				:: else
				fi
			}
			/* L:RC6 nothing, and not told to stop: sleeps if work is as it was */
			if
			:: none && (generation == 0 || M(NO_GENERATION)) ->
				work != seen || (M(NO_GENERATION) && false)
			:: else
			fi;
			asleep--
		fi
	:: else -> break
	od;
	finished++
}

proctype Application()
{
	byte left, w;
	bool none;

	reclaim(none);
	finished++
}

proctype Close()
{
	byte left, w, seen;
	bool none, idle;

	/* Whoever defers has done so: the driver's contract. */
	pushed == all;
	closing = true;
	if
	:: SHAPE(3) -> ran == all
	:: else
	fi;
	do
	:: true ->
		/* L:CL1 with reclaim_lock: nothing deferred, queued, nor running */
		d_step {
			lock == 0 ->
			idle = (!stack && !fifo && (reclaiming == 0 || M(IDLE_RUNNING))) ||
			       M(NO_DRAIN)
		}
		if
		:: idle -> break
		:: else
		fi;
		reclaim(none);
		/* L:CL2 others may run some of it: an event count, event.pml */
		waiters++;
		seen = event;
		d_step {
			idle = (stack || fifo || reclaiming == 0)
		}
		if
		:: idle
		:: else -> event != seen
		fi;
		waiters--
	od;
	closed = true;
	assert(ran == all && reclaiming == 0);
	/* L:CL3 told to stop, then woken */
	generation = 1;
	if
	:: M(NO_GENERATION)
	:: else -> work = (work + 1) & 7
	fi;
	finished == n - 1;
	atomic { closing = false; finished++ }
}

init
{
	atomic {
		all = 3;
		n = 4;
		run Reclaimer();
		run Close();
		run Defer(0);
		if
		:: SHAPE(1) || SHAPE(4) || SHAPE(101) -> n = 3; all = 1
		:: else -> run Defer(1)
		fi;
		if
		:: SHAPE(1) -> n = 4; run Application()
		:: SHAPE(2) -> waits = true
		:: SHAPE(101) -> n = 4; run Application()
		:: SHAPE(102) -> waits = true
		:: else
		fi
	}
	finished == n
}

ltl runs { [] ((pushed & 1) -> <> (ran & 1)) }
ltl closes { [] (closing -> <> !closing) }
