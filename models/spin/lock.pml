// SPDX-License-Identifier: MIT
/*
 * lock.pml - the three-state mutex: one holder, and no wake-up is lost (G4).
 *
 * Covers src/lock.h, lock.c and src/futex.h. The kernel compares and goes to sleep in one step,
 * wakes one sleeper, any; a signal wakes whom it likes (a bounded number of times).
 *
 *	lock				unlock
 *	FREE -> HELD, some tries	word = FREE		[RMW]
 *	word = CONTENDED	[RMW]	  was CONTENDED: wake one
 *	  was FREE: mine
 *	sleep if CONTENDED; again	[Required: who sleeps is woken, or somebody
 *					 holds it who will wake him]
 *
 * The lock is not fair: a formula about who waits needs an end of those that overtake him.
 *
 *	shape 0	three threads, twice each; 1	one of them spins (hmmu_lock_spin)
 */
#define LINES(X) \
	X(THREE, "three threads, a signal", 0, safety, clean) \
	X(SPINNER, "one of them never sleeps", 1, safety, clean) \
	X(SPINNER_GOT, "who waits gets it", 1, gets, clean) \
	X(THREE_GOT_BIG, "three threads: who waits gets it", 101, gets, clean) \
	X(FOUR_BIG, "four threads", 100, safety, clean) \
	X(FOUR_GOT_BIG, "four threads: who waits gets it", 100, gets, clean) \
	X(NO_WAKE, "unlock does not wake", 0, safety, stuck) \
	X(NO_WAKE_CYCLE, "the same, by the formula", 0, gets, cycle) \
	X(STAYS_HELD, "who was woken takes it as HELD: the next one sleeps on", 0, gets, cycle) \
	X(WAKES_HELD, "unlock wakes if it was HELD only", 0, safety, stuck) \
	X(SLEEPS_BLIND, "the kernel does not compare", 0, safety, stuck) \
	X(WOKEN_OWNS, "who is woken thinks it is his", 0, safety, assert) \
	X(CLAIM_IN_TWO, "FREE is looked at, then HELD stored", 0, safety, assert) \
	X(UNLOCK_IN_TWO, "unlock loads, then stores", 0, safety, stuck)
#include "lines.pml"

#define N 4
#define FREE 0
#define HELD 1
#define CONTENDED 2

byte word, inside, finished, n;
bool asleep[N], waits[N];
byte signals = 1;

/* The kernel: one of those who sleep. */
inline futex_wake_one()
{
	if
	:: atomic { asleep[0] -> asleep[0] = false }
	:: atomic { asleep[1] -> asleep[1] = false }
	:: atomic { asleep[2] -> asleep[2] = false }
	:: atomic { asleep[3] -> asleep[3] = false }
	:: atomic { !asleep[0] && !asleep[1] && !asleep[2] && !asleep[3] -> skip }
	fi
}

inline futex_wait(value)
{
	/* L:FX1 compares and sleeps in one step */
	atomic {
		if
		:: word == value || M(SLEEPS_BLIND) -> asleep[me] = true
		:: else
		fi
	}
	/* L:FX2 woken by a wake, or by a signal */
	if
	:: !asleep[me]
	:: atomic { asleep[me] && signals > 0 -> signals--; asleep[me] = false }
	fi
}

proctype Thread(byte me; byte rounds; bool spins)
{
	byte was;

	do
	:: rounds > 0 ->
		waits[me] = true;
		/* L:LK1 FREE -> HELD */
		if
		:: M(CLAIM_IN_TWO) ->
			was = word;
			if
			:: was == FREE -> word = HELD
			:: else
			fi
		:: else -> atomic {
				was = word;
				if
				:: word == FREE -> word = HELD
				:: else
				fi
			}
		fi;
		do
		:: was == FREE -> break
		:: was != FREE && spins ->
			atomic { word == FREE -> word = HELD; was = FREE }
		:: was != FREE && !spins ->
			/* L:LK2 CONTENDED from here on */
			atomic {
				was = word;
				if
				:: M(STAYS_HELD) && was == FREE -> word = HELD
				:: else -> word = CONTENDED
				fi
			}
			if
			:: was == FREE -> break
			:: else
			fi;
			futex_wait(CONTENDED);
			if
			:: M(WOKEN_OWNS) -> was = FREE
			:: else
			fi
		od;
		atomic { waits[me] = false; inside++ };
		assert(inside == 1);
		inside--;
		/* L:LK3 FREE, and wakes one if somebody may sleep */
		if
		:: M(UNLOCK_IN_TWO) -> was = word; word = FREE
		:: else -> atomic { was = word; word = FREE }
		fi;
		if
		:: M(NO_WAKE) || M(NO_WAKE_CYCLE)
		:: M(WAKES_HELD) && was == CONTENDED
		:: else ->
			if
			:: was == CONTENDED || M(WAKES_HELD) -> futex_wake_one()
			:: else
			fi
		fi;
		rounds--
	:: else -> break
	od;
	finished++
}

init
{
	atomic {
		if
		:: SHAPE(0) || SHAPE(101) -> n = 3; run Thread(0, 2, 0); run Thread(1, 2, 0); run Thread(2, 2, 0)
		:: SHAPE(1) -> n = 3; run Thread(0, 2, 0); run Thread(1, 2, 0); run Thread(2, 2, 1)
		:: SHAPE(100) -> n = 4; run Thread(0, 1, 0); run Thread(1, 1, 0);
			run Thread(2, 1, 0); run Thread(3, 1, 0)
		fi
	}
	finished == n && word == FREE
}

ltl gets { [] (waits[0] -> <> !waits[0]) }
