// SPDX-License-Identifier: MIT
/*
 * mute.pml - a bracketed REMOVE is known by its note, and no other is taken for it (G1).
 *
 * Covers src/source/userfaultfd/mute.c, `changes` in arm.c, and the bracket of
 * src/source/hooks/change.c. One page. T makes a hooked madvise; R makes the same call raw.
 * A subscription that was read before, or is armed meanwhile; the census waits for both.
 *
 *	hook of T			dispatcher
 *	begun + 1, callbacks
 *	note: IN, `changes`, events so far
 *	madvise: event, sleeps		(the monitor reads: T goes on)
 *	pages go
 *	note: OUT, events so far	event: a note covers it? IN: wait; OUT: T's bracket has it
 *	ended + 1			else start, open until nobody is inside
 *		[Required: R's pages go while it is open, or its event was dispatched as raw]
 *
 *	shape 0	T and R, read before		1	T alone
 *	shape 2	T and R, and it is armed meanwhile
 *	shape 4	T's call fails, R's does not
 *	shape 5	R's event was read; the page is replaced, hooked; T comes
 *	shape 6	T's note is IN; R's event is read; the page is replaced, hooked; T's call
 *
 * Not here: the page is replaced while R's event is queued and not read yet, or by a raw
 * call, and T comes then. T's note would be taken for R's.
 */
#define LINES(X) \
	X(BOTH, "a hooked and a raw call", 0, safety, clean) \
	X(ALONE, "a hooked call: handled once", 1, safety, clean) \
	X(ARMED, "both, while it is armed", 2, safety, clean) \
	X(TWICE_BIG, "the note is used again", 103, safety, clean) \
	X(FAILED, "the hooked call fails", 4, safety, clean) \
	X(ALONE_FREED, "a note is given back", 1, frees, clean) \
	X(ALONE_DECIDED, "the marks go away", 1, decides, clean) \
	X(REPLACED_BIG, "a page is replaced by a hooked call", 105, safety, clean) \
	X(REPLACED_IN_BIG, "the same, while the note is IN", 106, safety, clean) \
	X(NO_ORDER, "an event need not continue the last one", 0, safety, assert) \
	X(NO_CHANGES, "registered meanwhile: believed", 2, safety, assert) \
	X(CHANGES_ONCE, "changes moves once, before it is registered", 2, safety, assert) \
	X(CHANGES_LATE_BIG, "it is counted, but not said before", 102, safety, assert) \
	X(NO_FROM, "an event from before the note", 5, safety, assert) \
	X(NO_FAILED, "a call that failed is believed", 4, safety, assert) \
	X(NO_WAIT, "an event is known by a note that is IN", 4, safety, assert) \
	X(HOOK_SILENT, "a hook unregisters, changes does not move", 6, safety, assert) \
	X(NO_UNTIL_BIG, "spare: a note is good until it is given back", 103, safety, clean) \
	X(NEVER_MUTED, "no note is known", 1, safety, assert) \
	X(NO_SWEEP, "a note is not given back", 1, frees, cycle)
#include "lines.pml"

#define T 0
#define R 1

/* The kernel. */
bool registered = true;
chan queue = [2] of { byte };
bool asleep[2], in_call[2];
byte truth = 1;
bool dead[8];

/* mm */
byte marks, begun, ended, shadow = 1, seq;
bool unarmed;

/* The note. */
mtype = { FREE, IN, OUT };
mtype note = FREE;
byte generation, from, until, note_changes, changes, changing;
bool failed, matched;

byte marked, dispatched, ring, ring_number, open, finished, n, handled;
bool stopping, fails, replaced, raw_done;

#define SUM(x) ((x) & 15)

/* @after: 0; 1: comes when the page was replaced; 2: it is while the note is IN. */
proctype Hooked(byte rounds; byte after)
{
	byte was;
	bool noted, gone, told;

	replaced || after != 1;
	do
	:: rounds > 0 ->
		/* The bracket opens. */
		atomic { begun = SUM(begun + 1); shadow = 0 };
		/* L:MU1 the note */
		atomic {
			noted = (note == FREE);
			if
			:: noted ->
				generation++;
				note_changes = changes
			:: else
			fi
		}
		atomic {
			if
			:: noted -> from = marked; matched = false; failed = false; note = IN
			:: else
			fi
		}
		replaced || after != 2;
		/* The call. It may find nothing to do, and fail. */
		atomic {
			gone = true;
			told = false;
			if
			:: fails
			:: !fails && registered ->
				in_call[T] = true; asleep[T] = true; gone = false; queue!T
			:: !fails && !registered -> was = truth; truth++; dead[was] = true
			fi
		}
		!asleep[T];
		if
		:: !gone -> atomic { was = truth; truth++; in_call[T] = false; dead[was] = true }
		:: else
		fi;
		/* L:MU2 OUT, with the events read so far */
		if
		:: noted ->
			atomic { until = marked; failed = fails };
			note = OUT;
			/* L:MU3 or all has been dispatched */
			atomic {
				if
				:: dispatched >= until && note == OUT && !M(NO_SWEEP) -> note = FREE
				:: else
				fi
			}
		:: else
		fi;
		/* The bracket closes. */
		ended = SUM(ended + 1);
		rounds--
	:: else -> break
	od;
	finished++
}

proctype Raw()
{
	byte was;
	bool gone;

	atomic {
		if
		:: registered -> in_call[R] = true; asleep[R] = true; queue!R
		:: else -> was = truth; truth++; dead[was] = true; gone = true
		fi
	}
	!asleep[R];
	if
	:: !gone -> atomic { was = truth; truth++; in_call[R] = false; dead[was] = true }
	:: else
	fi;
	atomic { raw_done = true; finished++ }
}

proctype Monitor()
{
	byte c;

	do
	:: nempty(queue) ->
		atomic { marked++; marks++ };
		atomic { queue?c; asleep[c] = false };
		atomic { ring == 0 -> ring = c + 1; ring_number = marked }
	:: empty(queue) && stopping -> break
	od;
	finished++
}

#define COVERS (note != FREE && (from < number || M(NO_FROM)) && \
	(note_changes == changes && changing == 0 || M(NO_CHANGES) || \
	 (note_changes == changes && (M(CHANGES_ONCE) || M(CHANGES_LATE_BIG)))) && \
	(note != OUT || until >= number || M(NO_UNTIL_BIG)) && (!matched || M(NO_ORDER)))

proctype Dispatcher()
{
	byte number, g, e;
	bool muted;

	do
	:: ring != 0 ->
		atomic { e = ring; ring = 0; number = ring_number };
		/* L:MU4 covered, and its call has returned */
		if
		:: atomic { COVERS -> g = generation };
			(note != IN || M(NO_WAIT));
			atomic {
				muted = (COVERS && g == generation && (!failed || M(NO_FAILED)) &&
					!M(NEVER_MUTED));
				if
				:: muted -> matched = true
				:: else
				fi
			}
		:: atomic { !(COVERS) -> muted = false }
		fi;
		if
		:: muted
		:: else ->
			assert(!M(NEVER_MUTED));
			atomic { begun = SUM(begun + 1); shadow = 0 };
			open++
		fi;
		marks--;
		atomic {
			dispatched = number;
			/* L:MU5 notes whose events are all dispatched */
			if
			:: note == OUT && until <= dispatched && !M(NO_SWEEP) -> note = FREE
			:: else
			fi
		}
	:: ring == 0 && stopping && empty(queue) && marks == 0 -> break
	od;
	finished++
}

proctype Census()
{
	byte set;

	do
	:: open > 0 ->
		set = open;
		!in_call[T];
		!in_call[R];
		atomic { open = open - set; ended = SUM(ended + set) }
	:: open == 0 && finished >= n + 2 -> break
	od;
	finished++
}

/* Reads anew, once, then its device uses it. */
proctype Reader(bool reads)
{
	byte b, t, v;
	bool ok, was;

	if
	:: reads ->
again:		marks == 0;
		atomic { b = begun; ok = (SUM(ended + unarmed) == b) };
		if
		:: ok
		:: else -> goto again
		fi;
		if
		:: unarmed ->
			/* L:MU6 said before it is registered, and counted after */
			d_step {
				if
				:: M(CHANGES_ONCE) -> changes++
				:: M(CHANGES_LATE_BIG)
				:: else -> changing++
				fi
			}
			registered = true;
			d_step {
				if
				:: M(CHANGES_ONCE)
				:: M(CHANGES_LATE_BIG) -> changes++
				:: else -> changing--; changes++
				fi
			}
			atomic {
				if
				:: begun == b -> unarmed = false; ended = SUM(ended + 1)
				:: else
				fi
			}
		:: else
		fi;
		if
		:: marks == 0
		:: marks != 0 -> goto again
		fi;
		t = truth;
		/* The driver lock. */
		ok = (marks == 0);
		atomic {
			if
			:: ok && begun == b -> shadow = t; seq = b
			:: else -> goto again
			fi
		}
	:: else
	fi;
	atomic { v = shadow; was = dead[v] };
	ok = (marks == 0);
	ok = ok && begun == seq;
	assert(!ok || v == 0 || !was);
	finished++
}

/* A hooked munmap() and an mmap() of the same address. */
proctype Replaces(byte after)
{
	byte was;

	(in_call[R] && !asleep[R] && (note == IN || after != 2)) || raw_done;
	atomic {
		begun = SUM(begun + 1 + !unarmed);
		unarmed = true;
		shadow = 0
	}
	/* L:MU7 the hook unregisters: as MU6 */
	changing = changing + !M(HOOK_SILENT);
	registered = false;
	d_step {
		if
		:: M(HOOK_SILENT)
		:: else -> changing--; changes++
		fi
	}
	atomic { was = truth; truth++ };
	atomic { dead[was] = true; ended = SUM(ended + 1); replaced = true };
	finished++
}

inline unread()
{
	registered = false;
	unarmed = true;
	begun = 1;
	shadow = 0
}

init
{
	atomic {
		run Monitor();
		run Dispatcher();
		run Census();
		if
		:: SHAPE(0) -> n = 3; run Hooked(1, 0); run Raw(); run Reader(true)
		:: SHAPE(1) -> n = 2; run Hooked(1, 0); run Reader(true)
		:: SHAPE(2) || SHAPE(102) -> n = 3; unread(); run Hooked(1, 0); run Raw(); run Reader(true)
		:: SHAPE(103) -> n = 3; run Hooked(2, 0); run Raw(); run Reader(true)
		:: SHAPE(4) -> n = 3; fails = true; run Hooked(1, 0); run Raw(); run Reader(true)
		:: SHAPE(5) || SHAPE(105) -> n = 4; run Hooked(1, 1); run Raw(); run Replaces(1); run Reader(true)
		:: SHAPE(6) || SHAPE(106) -> n = 4; run Hooked(1, 2); run Raw(); run Replaces(2); run Reader(true)
		fi
	}
	finished >= n;
	stopping = true;
	finished == n + 3 && marks == 0 && begun == ended + unarmed
}

ltl frees { [] (note != FREE -> <> (note == FREE)) }
ltl decides { [] (marks > 0 -> <> (marks == 0)) }
