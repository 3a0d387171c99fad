// SPDX-License-Identifier: MIT
/*
 * wait.pml - a reader asleep on its subscription, and whose memory it is (G3, G4).
 *
 * Covers wait_end() and hmmu_wake_readers() in src/notifier/read.c, end_next(), end_subs() and
 * end_single() in invalidate.c, remove in insert.c.
 *
 *	reader				end, and the driver
 *	lock: ended; waiters + 1	lock: ended + 1; waiters? remember the address
 *	sleep if ended is as it was	unlock
 *	lock: waiters - 1		  the reader is back; remove; free; another's now
 *	looks again			wake whoever sleeps at that address
 *		[Required: nobody sleeps on; who frees need not wait for the waker, who touches
 *		 nothing but the address; who sleeps there by then looks again]
 *
 *	shape 0	a reader, two changes, then the memory is another's
 *	shape 1	two readers, with a deadline, and a change that does not end
 *	shape 2	two readers, two changes
 */
#define LINES(X) \
	X(REUSED, "one reader; the memory is freed and used again", 0, safety, clean) \
	X(REUSED_RETURNS, "the same: it returns", 0, returns, clean) \
	X(DEADLINE, "a change that does not end: the deadline", 1, safety, clean) \
	X(DEADLINE_RETURNS, "the same: it returns", 1, returns, clean) \
	X(READERS, "two readers", 2, safety, clean) \
	X(READERS_BIG, "two readers, one twice, three changes", 102, safety, clean) \
	X(READERS_RETURN_BIG, "two readers: who waits returns", 103, returns, clean) \
	X(NO_WAKE, "end does not wake", 0, safety, stuck) \
	X(NO_WAKE_CYCLE, "the same, by the formula", 0, returns, cycle) \
	X(NOT_COUNTED, "sleeps without counting itself", 0, safety, stuck) \
	X(WAITERS_FIRST, "end looks for sleepers before it takes the lock", 0, safety, stuck) \
	X(UNLOCKED_COUNT, "the reader counts itself without the lock", 2, safety, stuck) \
	X(SLEEPS_BLIND, "the kernel does not compare", 0, safety, stuck) \
	X(WAKE_ONE, "one is woken", 2, safety, stuck) \
	X(WAKER_READS, "the waker looks at the subscription again", 0, safety, assert) \
	X(END_BLIND, "end does not look whether it is in the tree", 0, safety, assert) \
	X(OTHER_ONCE, "who sleeps there next believes its wake-up", 0, safety, assert) \
	X(READER_ONCE, "a reader believes its wake-up", 0, safety, assert) \
	X(TIMEOUT_COUNTED, "a deadline leaves the count behind", 1, safety, stuck) \
	X(NO_DEADLINE, "a deadline does not end the sleep", 1, returns, cycle)
#include "lines.pml"

byte mm, begun, ended, waiters;
bool in_tree = true, freed, lasts; /* lasts: one change stays open */
bool asleep[3], reading[2], flag;  /* 2: who has the memory next */
byte finished, readers, n, signals = 1;

inline sleep_on(me, same)
{
	atomic {
		if
		:: (same) || M(SLEEPS_BLIND) -> asleep[me] = true
		:: else
		fi
	}
	if
	:: !asleep[me]
	:: atomic { asleep[me] && signals > 0 -> signals--; asleep[me] = false }
	:: atomic { asleep[me] && deadline && !M(NO_DEADLINE) ->
		asleep[me] = false; timed_out = true }
	fi
}

proctype Reader(byte me; byte rounds; bool deadline)
{
	byte e, was;
	bool open, timed_out, began;

	do
	:: rounds > 0 ->
		reading[me] = true;
		do
		:: true ->
			atomic {
				e = ended;
				if
				:: e == begun -> began = true; break
				:: e != begun && timed_out -> break
				:: else
				fi
			}
			/* L:WT1 with the lock: open? then it counts itself */
			if
			:: M(UNLOCKED_COUNT) ->
				e = ended; open = (e != begun); was = waiters;
				waiters = was + open
			:: else -> d_step {
					mm == 0 ->
					e = ended;
					open = (e != begun);
					if
					:: open && !M(NOT_COUNTED) -> waiters++
					:: else
					fi
				}
			fi;
			if
			:: open ->
				/* L:WT2 sleeps if ended is as it was */
				sleep_on(me, ended == e);
				/* L:WT3 with the lock */
				d_step {
					mm == 0 ->
					if
					:: M(NOT_COUNTED) || (M(TIMEOUT_COUNTED) && timed_out) ||
					   waiters == 0
					:: else -> waiters--
					fi
				}
				if
				:: M(READER_ONCE) -> break
				:: else
				fi
			:: else
			fi
		od;
		/* None was open, or the deadline: never a mere wake-up. */
		assert(!freed && (began || timed_out));
		atomic { reading[me] = false; rounds--; timed_out = false; began = false }
	:: else -> break
	od;
	atomic { finished++; readers-- }
}

proctype Change(byte rounds)
{
	bool wake;

	do
	:: rounds > 0 ->
		d_step {
			mm == 0 ->
			if
			:: in_tree -> begun++
			:: else -> rounds = 0
			fi
		}
		if
		:: rounds > 0 ->
			if
			:: lasts -> readers == 0
			:: else
			fi;
			if
			:: M(WAITERS_FIRST) -> wake = (waiters > 0)
			:: else
			fi;
			/* L:WT4 with the lock: ended, and are there sleepers? */
			d_step {
				mm == 0 ->
				if
				:: in_tree || M(END_BLIND) ->
					assert(!freed);
					ended++;
					if
					:: M(WAITERS_FIRST)
					:: else -> wake = (waiters > 0)
					fi
				:: else -> wake = false
				fi
			}
			/* L:WT5 without it: the address alone */
			if
			:: wake && !M(NO_WAKE) && !M(NO_WAKE_CYCLE) ->
				d_step {
					assert(!freed || !M(WAKER_READS));
					if
					:: M(WAKE_ONE) && asleep[0] -> asleep[0] = false
					:: else ->
						asleep[0] = false;
						asleep[1] = false;
						asleep[2] = false
					fi
				}
			:: else
			fi;
			rounds--
		:: else
		fi
	:: else -> break
	od;
	finished++
}

/* No reader inside: the driver removes, and frees. */
proctype Driver()
{
	bool deadline, timed_out;

	readers == 0;
	/* L:WT6 off the tree */
	d_step {
		mm == 0 ->
		in_tree = false;
		ended = begun
	}
	freed = true;
	/* Another's futex lies at that address. */
	do
	:: atomic { flag -> break }
	:: else ->
		sleep_on(2, !flag);
		if
		:: M(OTHER_ONCE) -> break
		:: else
		fi
	od;
	assert(flag);
	finished++
}

proctype Other()
{
	freed;
	flag = true;
	asleep[2] = false;
	finished++
}

init
{
	atomic {
		n = 4;
		readers = 1;
		run Driver();
		run Other();
		if
		:: SHAPE(0) -> run Reader(0, 1, false); run Change(2)
		:: SHAPE(1) -> readers = 2; n = 5; lasts = true; begun = 0;
			run Reader(0, 1, true); run Reader(1, 1, true); run Change(1)
		:: SHAPE(2) || SHAPE(103) -> readers = 2; n = 6;
			run Reader(0, 1, false); run Reader(1, 1, false); run Change(1); run Change(1)
		:: SHAPE(102) -> readers = 2; n = 6; signals = 2;
			run Reader(0, 2, false); run Reader(1, 1, false); run Change(2); run Change(1)
		fi
	}
	finished == n && waiters == 0
}

ltl returns { [] (reading[0] -> <> !reading[0]) }
