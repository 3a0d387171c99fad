// SPDX-License-Identifier: MIT
/*
 * source.pml - by return: told afterwards, and nothing stale is used (G1, G2, G4).
 *
 * Covers src/source/userfaultfd/{monitor,dispatch,removal,arm,source}.c and begin_net() in
 * src/notifier/read.c. The kernel: who changes what is registered queues an event and sleeps
 * until it has been read; UNMAP and its like are done by then and take the registration along,
 * a REMOVE is done after.
 *
 *	caller			monitor		dispatcher	census	reader, device
 *	changes, or not yet;			
 *	  event; sleeps
 *				undecided
 *				read: he goes on
 *				ring, or spill
 *	REMOVE: changes now			start: begun, callbacks
 *	returns					UNMAP: end	REMOVE: seen
 *						decided		outside:
 *								end
 *		[Required: a use that began after the return fails, or is of what is there
 *		 now; who sleeps is let go; the marks go away; reads begin; close returns]
 *
 * A translation is the number of the change that made it. dead: a change that replaced it has
 * returned, or, with a probe at each check, its address may be another's.
 *
 *	shape 0	an UNMAP, twice; a reader and its device	1	a REMOVE
 *	shape 2	it was read before, a REMOVE; the ring, of one place, is full: it spills
 *	shape 3	as 0, with a probe: alone, without hooks
 *	shape 4	an UNMAP and close
 *	shape 5	the same, two REMOVEs: a spill meets a spill
 *	shape 6	it was read before: an UNMAP, close
 *	shape 7	as 2, read again; something was spilled already
 *	shape 8	it was read before, a REMOVE and an UNMAP, which one read may take
 *	shape 9	the same and close, which no use outlives
 *
 * A read takes as many as are queued and the ring has room for, each of which lets its caller
 * go by itself: one mark and one number for all, with the last of them. The ring has one place;
 * in shapes 8 and 9 it has two.
 */
#define LINES(X) \
	X(GONE, "UNMAP, twice", 0, safety, clean) \
	X(GOING, "REMOVE", 1, safety, clean) \
	X(SPILL, "a REMOVE, a ring that is full", 2, safety, clean) \
	X(SPILL_AGAIN, "a REMOVE spills beside what was spilled", 7, safety, clean) \
	X(PROBE, "UNMAP with a probe", 3, safety, clean) \
	X(CLOSE, "UNMAP and close", 4, safety, clean) \
	X(LET_GO, "who sleeps on his event is let go", 6, let_go, clean) \
	X(DECIDED, "the marks go away", 6, decides, clean) \
	X(BEGINS, "reads begin", 4, begins, clean) \
	X(CLOSES, "close returns", 6, closes, clean) \
	X(TOGETHER_BIG, "two of one read", 110, safety, clean) \
	X(TOGETHER_DECIDED_BIG, "two of one read: the marks go away", 110, decides, clean) \
	X(TOGETHER_CLOSE_BIG, "two of one read, and close", 109, safety, clean) \
	X(SPILL_TWO_BIG, "two REMOVEs, a ring that is full", 108, safety, clean) \
	X(SPILL_DECIDED_BIG, "a ring that is full: the marks go away", 102, decides, clean) \
	X(REMOVE_BEGINS_BIG, "a REMOVE: reads begin", 101, begins, clean) \
	X(READ_THEN_MARK, "undecided only after the read", 0, safety, assert) \
	X(DECIDE_EARLY, "decided before the start", 0, safety, assert) \
	X(BEGUN_FIRST, "the check loads begun, then epoch", 0, safety, assert) \
	X(NO_EPOCH, "the check does not look at epoch", 0, safety, assert) \
	X(ARM_ONCE, "a replaced mapping is not armed again", 0, safety, assert) \
	X(ARM_LATE, "armed after the truth was read", 0, safety, assert) \
	X(ARMED_BLIND, "arming ends it though begun has moved", 0, safety, assert) \
	X(REMOVE_ENDS, "a REMOVE ends when it was dispatched", 1, safety, assert) \
	X(CENSUS_FIRST, "the census looks before it takes what is open", 1, safety, assert) \
	X(SPILL_SILENT, "a full ring drops the event and its mark", 2, safety, assert) \
	X(SPILL_KEEPS, "a full ring drops the event, the mark stays", 2, safety, stuck) \
	X(SPILL_MARKS, "each spilled event leaves a mark", 5, safety, stuck) \
	X(NO_PROBE, "alone, but a check does not ask", 3, safety, assert) \
	X(PROBE_LATE, "a check asks after it has compared", 3, safety, assert) \
	X(NO_KICK, "the dispatcher is not woken", 4, safety, stuck) \
	X(NO_KICK_CYCLE, "the same: the marks stay", 4, decides, cycle) \
	X(SEEN_LATE, "the dispatcher reads its futex after the ring", 4, safety, stuck) \
	X(CLOSE_REGISTERED, "closed without unregistering", 4, safety, stuck) \
	X(CLOSE_REGISTERED_CYCLE, "the same: who sleeps is not let go", 4, let_go, cycle) \
	X(NO_DRAIN, "close does not wait for what was read", 4, safety, assert) \
	X(DECIDE_FIRST, "decided with the first of a read", 8, safety, assert) \
	X(MARK_AGAIN, "the second of a read marks as well, nobody unmarks", 8, safety, stuck) \
	X(NUMBER_FIRST, "dispatched with the first of a read", 9, safety, assert)
#include "lines.pml"

#define NC 3 /* callers */
#define UNMAP 1
#define REMOVE 2
#define SPILLED 3

/* The kernel. */
bool registered, probes;
chan queue = [NC] of { byte, byte }; /* who, what */
bool asleep[NC], in_call[NC];
byte truth = 1;
bool dead[8];

/* mm */
byte marks, begun = 1, ended, lock, shadow, seq, driver;
bool unarmed = true, attached = true, freed;

/* The monitor: a ring of one, and the place of what was spilled. */
byte marked, spilled, spill, dispatched, spill_done, kicks, removal_kicks, stopping;
byte open; /* removals that the census has yet to end */
byte left, finished, n;
bool reading, closing;
byte room = 1;
chan ring = [2] of { byte, byte, bool }; /* what, number, the last of its read */

#define SUM(x) ((x) & 7)

inline returns(c)
{
	d_step { in_call[c] = false; asleep[c] = false }
}

/* One change of the page, raw: nobody brackets it. */
proctype Caller(byte c; byte what; byte rounds)
{
	byte was;
	bool gone;

	do
	:: rounds > 0 ->
		/* UNMAP and map again: a translation goes, and the registration with it. */
		atomic {
			in_call[c] = (what == REMOVE);
			asleep[c] = registered;
			was = truth;
			if
			:: registered -> queue!c,what
			:: else
			fi;
			if
			:: what == UNMAP ->
				truth++;
				registered = false;
				if
				:: probes -> dead[was] = true
				:: else
				fi
			:: what == REMOVE && !asleep[c] ->
				/* Not told: under the lock that registering takes, too. */
				truth++
			:: else
			fi;
			gone = (what == UNMAP || !asleep[c])
		}
		/* Until its event has been read. */
		!asleep[c];
		if
		:: !gone -> atomic { was = truth; truth++ }
		:: else
		fi;
		atomic { in_call[c] = false; dead[was] = true; rounds-- }
	:: else -> break
	od;
	atomic { left--; finished++ }
}

inline mark()
{
	if
	:: attached -> marks++; mine = true
	:: else -> mine = false
	fi
}

inline late_mark()
{
	if
	:: M(READ_THEN_MARK) -> mark()
	:: else
	fi
}

#define PLACE(what) (mine -> what + 4 : what + 8)

/* L:SR1 undecided, then read: who sleeps on an event goes on */
inline read_some()
{
	d_step {
		marked++;
		if
		:: M(READ_THEN_MARK)
		:: else -> mark()
		fi;
		more = 0;
		want = (len(ring) < room -> room - len(ring) : 1)
	}
	/* L:SR2 the read, one after another; it waits for none */
	atomic {
		if
		:: nempty(queue) -> queue?c,what; asleep[c] = false
		:: empty(queue) -> what = 0; want = 1
		fi
	}
	if
	:: want > 1 ->
		atomic {
			if
			:: nempty(queue) -> queue?c,more; asleep[c] = false
			:: empty(queue)
			fi;
			if
			:: more && M(MARK_AGAIN) -> mark()
			:: else
			fi
		}
	:: else
	fi;
	/* L:SR3 the ring, if there is room */
	if
	:: atomic {
			len(ring) < room ->
			late_mark();
			if
			:: more && M(DECIDE_FIRST) ->
				ring!PLACE(what),marked,true;
				ring!PLACE(more),marked,false
			:: more && !M(DECIDE_FIRST) ->
				ring!PLACE(what),marked,false;
				ring!PLACE(more),marked,true
			:: else -> ring!PLACE(what),marked,true
			fi
		}
	:: atomic {
			len(ring) >= room ->
			late_mark();
			/* L:SP1 its place is taken: one mark is enough */
			if
			:: M(SPILL_KEEPS) || !mine
			:: M(SPILL_SILENT) -> marks--
			:: spill && !M(SPILL_MARKS) -> marks--
			:: else -> spill = 1
			fi
		}
		/* L:SP2 the number, after the marks */
		spilled = marked
	fi;
	/* L:SR4 wakes the dispatcher */
	d_step {
		if
		:: M(NO_KICK) || M(NO_KICK_CYCLE)
		:: else -> kicks = SUM(kicks + 1)
		fi
	}
}

proctype Monitor()
{
	byte c, what, more, want;
	bool mine;

	do
	:: nempty(queue) && stopping == 0 -> read_some()
	:: stopping == 1 -> break
	od;
	/* L:SR5 nothing registered any more, then what is still queued */
	if
	:: M(CLOSE_REGISTERED) || M(CLOSE_REGISTERED_CYCLE)
	:: else ->
		registered = false;
		do
		:: nempty(queue) -> read_some()
		:: empty(queue) -> break
		od
	fi;
	stopping = 2;
	kicks = SUM(kicks + 1)
}

/* begun moves, callbacks run. */
inline inv_start(replaces)
{
	/* L:SD1 begun, and it is to be armed again */
	d_step {
		assert(!freed);
		lock == 0 ->
		begun = SUM(begun + 1);
		if
		:: replaces && !unarmed && !M(ARM_ONCE) -> unarmed = true; begun = SUM(begun + 1)
		:: else
		fi
	}
	d_step { driver == 0 -> shadow = 0 }
}

inline going(replaces)
{
	inv_start(replaces);
	/* L:SD2 open until the census has seen everybody outside */
	d_step {
		if
		:: M(REMOVE_ENDS) -> ended = SUM(ended + 1)
		:: else -> open++
		fi;
		removal_kicks = SUM(removal_kicks + 1)
	}
}

/* L:SD3 decided, when all that it hits has moved */
inline decide()
{
	marks--
}

proctype Dispatcher()
{
	byte e, seen, upto, number;
	bool last, mine, decides;

	do
	:: true ->
		/* L:SD4 futex and end, before the ring */
		d_step { seen = kicks; last = (stopping == 2); upto = spilled }
		do
		:: nempty(ring) ->
			d_step {
				ring?e,number,decides;
				mine = (e < 8);
				e = (mine -> e & 3 : 0);
				if
				:: mine && decides && M(DECIDE_EARLY) -> decide()
				:: else
				fi
			}
			if
			:: e == UNMAP ->
				inv_start(true);
				d_step { lock == 0 -> ended = SUM(ended + 1) }
			:: e == REMOVE -> going(false)
			:: else
			fi;
			d_step {
				if
				:: mine && decides && !M(DECIDE_EARLY) -> decide()
				:: else
				fi
			}
			/* L:SD5 its number, when all of it is over */
			if
			:: decides || M(NUMBER_FIRST) -> dispatched = number
			:: else
			fi
		:: empty(ring) -> break
		od;
		if
		:: atomic {
				spill != 0 ->
				/* L:SP3 the place first, then everybody (the other way round:
				 * models/relacy/ring.cpp) */
				spill = 0
			}
			going(true);
			decide()
		:: spill == 0
		fi;
		d_step {
			if
			:: upto > dispatched -> dispatched = upto
			:: else
			fi;
			spill_done = upto;
			if
			:: M(SEEN_LATE) -> seen = kicks
			:: else
			fi
		}
		if
		:: last -> break
		:: else
		fi;
		kicks != seen
	od;
	stopping = 3;
	removal_kicks = SUM(removal_kicks + 1);
	finished++
}

proctype Census()
{
	byte c, seen, set;
	bool last;

	do
	:: true ->
		/* L:CE1 those that are open, then every thread */
		d_step { seen = removal_kicks; last = (stopping == 3); set = open };
		if
		:: M(CENSUS_FIRST) || set ->
			c = 0;
			do
			:: c < NC -> d_step { !in_call[c] -> c++ }
			:: else -> break
			od;
			/* L:CE2 each has been outside: they end */
			atomic {
				lock == 0 ->
				if
				:: M(CENSUS_FIRST) -> set = open
				:: else
				fi;
				open = open - set;
				ended = SUM(ended + set);
				assert(!set || !freed)
			}
			if
			:: set
			:: else -> removal_kicks != seen || stopping == 3
			fi
		:: else ->
			if
			:: last -> break
			:: else -> removal_kicks != seen
			fi
		fi
	od;
	finished++
}

/* L:SC1 epoch, then begun */
inline check(q)
{
	if
	:: atomic { probes -> ok = (M(NO_PROBE) || M(PROBE_LATE) || empty(queue)) };
		d_step { ok = ok && marks == 0 }
	:: atomic { !probes -> ok = (M(BEGUN_FIRST) -> begun == q : marks == 0 || M(NO_EPOCH)) }
	fi;
	d_step { ok = ok && (M(BEGUN_FIRST) -> marks == 0 : begun == q) };
	if
	:: probes && M(PROBE_LATE) -> ok = ok && empty(queue)
	:: else
	fi
}

inline read_begin()
{
	reading = true;
	do
	:: true ->
		/* L:SB1 decided, nothing told that is not dispatched */
		marks == 0 && (!probes || empty(queue));
		/* L:SB2 what is open, with the lock */
		d_step {
			lock == 0 ->
			b = begun;
			arm = unarmed;
			op = (SUM(ended + unarmed) != b);
			e = ended
		}
		if
		:: op -> ended != e || begun != b
		:: else ->
			if
			:: arm ->
				if
				:: M(ARM_LATE)
				:: else -> registered = true
				fi;
				/* L:SB3 open for that reason no more, if begun has not moved */
				d_step {
					lock == 0 ->
					if
					:: unarmed && (begun == b || M(ARMED_BLIND)) ->
						unarmed = false;
						ended = SUM(ended + 1);
						if
						:: M(ARMED_BLIND) -> b = begun
						:: else
						fi
					:: else
					fi
				}
			:: else
			fi;
			/* L:SB4 and still decided */
			if
			:: atomic { marks == 0 -> reading = false; break }
			:: marks != 0
			fi
		fi
	od
}

/* Reads and installs; then its device uses it. */
proctype Reader(byte rounds; byte uses)
{
	byte b, e, t, v;
	bool arm, op, ok, was;

	do
	:: rounds > 0 ->
again:		read_begin();
		t = truth;
		d_step {
			driver == 0 ->
			driver = 1;
			if
			:: M(ARM_LATE) -> registered = true
			:: else
			fi
		}
		check(b);
		if
		:: ok -> d_step { shadow = t; seq = b; driver = 0 }
		:: else -> driver = 0; goto again
		fi;
		rounds--
	:: rounds == 0 && uses > 0 && shadow != 0 ->
		/* A use: what is dead when it begins is not used. */
		d_step { v = shadow; was = dead[v] };
		check(seq);
		assert(!ok || v == 0 || !was);
		uses--
	:: rounds == 0 && (uses == 0 || shadow == 0) -> break
	od;
	atomic { left--; finished++ }
}

/* Who closes the mm, when nobody subscribes; the other callers go on. */
proctype Close()
{
	byte upto;

	if
	:: SHAPE(4) || SHAPE(9) || SHAPE(109) -> finished >= 1
	:: else -> left == 0
	fi;
	closing = true;
	/* L:SX1 no place in the table: nobody marks it from now on */
	atomic { attached = false; upto = marked };
	if
	:: M(NO_DRAIN)
	:: else ->
		/* L:SX2 what was marked has been dispatched, what was spilled, what is open */
		dispatched >= upto;
		upto = spilled;
		spill_done >= upto;
		open == 0
	fi;
	freed = true;
	/* L:SX3 the last one: stop */
	stopping = 1;
	stopping == 3;
	closing = false;
	atomic { finished++ }
}

/* It was read before all this begins. */
inline armed()
{
	registered = true;
	unarmed = false;
	begun = 0;
	shadow = 1;
	seq = 0
}

/* Something else was read, and waits for the dispatcher. */
inline filled()
{
	ring!4,1,true;
	marked = 1;
	marks = 1;
	kicks = 1
}

/* And one more, for which there was no room. */
inline spilled_one()
{
	spill = 1;
	spilled = 2;
	marked = 2;
	marks = 2
}

init
{
	atomic {
		run Monitor();
		run Dispatcher();
		run Census();
		run Close();
		if
		:: SHAPE(0) -> left = 2; n = 5; run Caller(0, UNMAP, 2); run Reader(1, 1)
		:: SHAPE(1) -> left = 2; n = 5; run Caller(0, REMOVE, 1); run Reader(1, 1)
		:: SHAPE(2) || SHAPE(102) -> left = 2; n = 5; armed(); filled();
			run Caller(0, REMOVE, 1); run Reader(0, 1)
		:: SHAPE(6) -> left = 2; n = 5; armed(); run Caller(0, UNMAP, 1); run Reader(0, 1)
		:: SHAPE(3) -> left = 2; n = 5; probes = true;
			run Caller(0, UNMAP, 2); run Reader(1, 1)
		:: SHAPE(4) -> left = 2; n = 5; run Caller(0, UNMAP, 1); run Reader(1, 1)
		:: SHAPE(108) -> left = 3; n = 6; armed(); filled();
			run Caller(0, REMOVE, 1); run Caller(1, REMOVE, 1); run Reader(0, 0)
		:: SHAPE(5) -> left = 3; n = 6; armed(); filled();
			run Caller(0, REMOVE, 1); run Caller(1, REMOVE, 1); run Reader(0, 1)
		:: SHAPE(7) -> left = 2; n = 5; armed(); filled(); spilled_one();
			run Caller(0, REMOVE, 1); run Reader(1, 1)
		:: SHAPE(8) || SHAPE(110) -> left = 3; n = 6; armed(); room = 2; run Caller(0, REMOVE, 1);
			run Caller(1, UNMAP, 1); run Reader(0, 1)
		:: SHAPE(9) || SHAPE(109) -> left = 3; n = 6; armed(); room = 2;
			run Caller(0, REMOVE, 1); run Caller(1, UNMAP, 1); run Reader(0, 0)
		:: SHAPE(101) -> left = 2; n = 5; run Caller(0, REMOVE, 1); run Reader(1, 1)
		fi
	}
	finished == n && marks == 0 && !asleep[0] && !asleep[1] && !asleep[2]
}

ltl let_go { [] (asleep[0] -> <> !asleep[0]) }
ltl decides { [] (marks > 0 -> <> (marks == 0)) }
ltl begins { [] (reading -> <> !reading) }
ltl closes { [] (closing -> <> !closing) }
