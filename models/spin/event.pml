// SPDX-License-Identifier: MIT
/*
 * event.pml - the event count: who waits for his condition is woken (G4).
 *
 * Covers src/notifier/event.c, and wait_decided() in read.c, which goes once round the same
 * steps and comes again. Orders: models/relacy/event.cpp.
 *
 *	waiter				signaller
 *	event_waiters + 1		condition = true
 *	load event			load event_waiters
 *	condition? done			  none: done
 *	sleep if event is as loaded	event + 1, wake all
 *			[Required: nobody sleeps whose condition is true]
 *
 *	shape 0	two waiters, each with a condition of his own, two who signal; one of each comes twice
 *	shape 1	each once
 */
#define LINES(X) \
	X(TWO, "two waiters, two who signal", 0, safety, clean) \
	X(RETURNS, "who waits returns", 1, returns, clean) \
	X(TWICE_BIG, "the same, three times", 100, safety, clean) \
	X(RETURNS_BIG, "twice and once: who waits returns", 101, returns, clean) \
	X(COUNT_LATE, "looks, then counts itself", 0, safety, stuck) \
	X(SEEN_LATE, "event is read after the condition", 0, safety, stuck) \
	X(NO_EVENT, "event does not move", 0, safety, stuck) \
	X(NO_WAKE, "no wake", 0, safety, stuck) \
	X(NO_WAKE_CYCLE, "the same, by the formula", 1, returns, cycle) \
	X(WAKE_ONE, "one is woken, perhaps the wrong one", 0, safety, stuck) \
	X(SIGNAL_FIRST, "signal, then the condition", 0, safety, stuck) \
	X(FLAG, "a flag that there are waiters, not a count", 0, safety, stuck) \
	X(ONCE, "who is woken does not look again", 0, safety, assert)
#include "lines.pml"

byte event, waiters, finished;
bool cond[2], asleep[2], waits[2];
byte signals = 1; /* by whom it is not known: EINTR */

proctype Waiter(byte me; byte rounds)
{
	byte seen;

	do
	:: rounds > 0 ->
		waits[me] = true;
		/* L:EV1 counts itself, before it looks */
		d_step {
			if
			:: M(COUNT_LATE)
			:: M(FLAG) -> waiters = 1
			:: else -> waiters++
			fi
		}
		do
		:: true ->
			/* L:EV2 event, before the condition */
			seen = event;
			/* L:EV3 the condition */
			if
			:: cond[me] -> break
			:: else
			fi;
			d_step {
				if
				:: M(SEEN_LATE) -> seen = event
				:: M(COUNT_LATE) -> waiters++
				:: else
				fi
			}
			/* L:EV4 sleeps if event is as it was */
			atomic {
				if
				:: event == seen -> asleep[me] = true
				:: else
				fi
			}
			if
			:: !asleep[me]
			:: atomic { asleep[me] && signals > 0 -> signals--; asleep[me] = false }
			fi;
			if
			:: M(ONCE) -> break
			:: M(COUNT_LATE) -> waiters--
			:: else
			fi
		od;
		if
		:: M(COUNT_LATE)
		:: M(FLAG) -> waiters = 0
		:: else -> waiters--
		fi;
		assert(cond[me]);
		atomic { cond[me] = false; waits[me] = false };
		rounds--
	:: else -> break
	od;
	finished++
}

inline signal()
{
	/* L:EV5 after the condition: anybody there? */
	if
	:: waiters > 0 ->
		/* L:EV6 event moves, then all are woken */
		if
		:: M(NO_EVENT)
		:: else -> event = (event + 1) & 7
		fi;
		if
		:: M(NO_WAKE) || M(NO_WAKE_CYCLE)
		:: M(WAKE_ONE) ->
			atomic {
				if
				:: asleep[0] -> asleep[0] = false
				:: asleep[1] -> asleep[1] = false
				:: else
				fi
			}
		:: else -> atomic { asleep[0] = false; asleep[1] = false }
		fi
	:: else
	fi
}

proctype Signaller(byte whose; byte rounds)
{
	do
	:: rounds > 0 ->
		!cond[whose];
		if
		:: M(SIGNAL_FIRST) -> signal()
		:: else
		fi;
		cond[whose] = true;
		if
		:: M(SIGNAL_FIRST)
		:: else -> signal()
		fi;
		rounds--
	:: else -> break
	od;
	finished++
}

init
{
	byte n;

	atomic {
		n = 1;
		if
		:: SHAPE(0) || SHAPE(101) -> n = 2
		:: SHAPE(100) -> n = 3
		:: else
		fi;
		run Waiter(0, n);
		run Waiter(1, (n + 1) / 2);
		run Signaller(0, n);
		run Signaller(1, (n + 1) / 2)
	}
	finished == 4 && waiters == 0
}

ltl returns { [] (waits[0] -> <> !waits[0]) }
