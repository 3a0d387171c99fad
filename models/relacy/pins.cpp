// SPDX-License-Identifier: MIT
/*
 * pins.cpp - the registration cache: a hit against a kill and the reaper, a put against the
 * reaper (G1, G3, G4).
 *
 * Covers: hit(), look(), collided(), pin() in src/regcache/get.c; rc_unpin(), rc_pinned() in
 * regcache.h; rc_pin(), rc_unpin_slow(), rc_unpinned(), rc_pins_mark() in pins.c; rc_kill(),
 * work(), rc_poke(), barrier(), sort(), collect(), rc_reap() in kill.c.
 *
 *	get					kill, with the lock
 *	load first word		[acquire]	clear the words		[release]
 *	pin = id				state = DEAD		[release]
 *	load first, then last:	[acquire]	dying + 1		[seqcst]
 *	  the same?				poke
 *	use the registration			reaper, some time later
 *						queued = 0		[seqcst]
 *	put					take the dead, with the lock
 *	pin = 0			[release]	membarrier
 *	load dying		[relaxed]	scan the pins		[seqcst]
 *	  not 0, mine DEAD: poke		  pinned: dead again
 *						  not: GONE, dying - 1, dereg
 *	[Required: what get answered is registered until its put; what is dead is deregistered
 *	 in the end, however often it was met pinned]
 *
 * That membarrier (membarrier.h) is enough shows by two cases, without a total order: it
 * meets the getter before its second look, which then finds the words cleared; or behind
 * it, hence behind the store of the pin, which the scan then finds. A put likewise. (The pin
 * is relaxed here. That it is to be a release is for who scans: words.cpp, SCAN.)
 *
 * FENCED, where there is none: pin and unpin are exchanges, and so is the scan's look at a
 * pin and at the count (nothing is added). Of two exchanges of one word one is first: the
 * scan reads the pin, or the pin reads what the scan left, and with it sees the cleared
 * words. A scan that only loads, seqcst or not, is not enough (F_SCAN_LOAD): the getter's
 * second look would have to be in the total order, too, and the store that it looks for
 * (F_WORDS_SEQCST). F_UNPIN_STORE loads dying relaxed: Relacy's total order of seqcst
 * accesses is stronger than C11's and hides that one otherwise; F_ACQ_REL is its clean side.
 *
 * The registration is a plain variable that its user reads and dereg writes: who uses it
 * unordered with that is a data race to Relacy, however it happened to be executed. What is
 * forgotten is a deadlock: the reaper sleeps and nobody is left to poke it.
 *
 * Two pages; the region covers both. HITS: get, use, put against one kill and one reap.
 * PUTS: pinned from the start, put against a reaper that goes on until it is deregistered.
 * LIFE: all of it. BOTH: two getters. APART: who kills is another thread. NEXT: the same id
 * is registered again, for both pages, the first, the last; LAST_DIES: and dies, while a
 * getter of its earlier life may have it pinned. COUNT: no slot is free. HANDED: another thread
 * puts.
 */
#include "membarrier.h"

enum { HITS, PUTS, LIFE, BOTH, APART, NEXT_BOTH, NEXT_FIRST, NEXT_LAST, LAST_DIES, HANDED };
enum { COUNT = 16, FENCED = 32 };

#define LIST(X)                                                                                \
	X(HIT, "get against kill and reap", CLEAN, HITS, BOUND(3))                             \
	X(PUT, "put against kill and reaper", CLEAN, PUTS, BOUND(4))                           \
	X(ALL, "get, use and put against kill and reaper", CLEAN, LIFE, BOUND(3))              \
	X(TWO, "two getters", CLEAN, BOTH, BOUND(2))                                           \
	X(KILLER, "the killer is another thread", CLEAN, APART, BOUND(3))                      \
	X(AGAIN, "the same id, the same words", CLEAN, NEXT_BOTH, BOUND(3))                    \
	X(AGAIN_FIRST, "the same id, the first page", CLEAN, NEXT_FIRST, BOUND(3))             \
	X(AGAIN_LAST, "the same id, the last page", CLEAN, NEXT_LAST, BOUND(3))                \
	X(AGAIN_DIES, "the same id, which dies, too", CLEAN, LAST_DIES, BOUND(2))              \
	X(COUNTED, "no slot: the count", CLEAN, COUNT + LIFE, BOUND(3))                        \
	X(HANDED_ON, "another thread puts", CLEAN, HANDED, BOUND(2))                           \
	X(F_HIT, "fenced: get", CLEAN, FENCED + HITS, BOUND(4))                                \
	X(F_PUT, "fenced: put", CLEAN, FENCED + PUTS, BOUND(4))                                \
	X(F_ALL, "fenced: all of it", CLEAN, FENCED + LIFE, BOUND(3))                          \
	X(F_TWO, "fenced: two getters", CLEAN, FENCED + BOTH, BOUND(2))                        \
	X(F_AGAIN, "fenced: the same id, the same words", CLEAN, FENCED + NEXT_BOTH, BOUND(3)) \
	X(F_AGAIN_LAST, "fenced: the same id, the last page", CLEAN, FENCED + NEXT_LAST,       \
	  BOUND(3))                                                                            \
	X(F_COUNTED, "fenced: no slot", CLEAN, FENCED + COUNT + LIFE, BOUND(3))                \
	X(F_HANDED_ON, "fenced: another thread puts", CLEAN, FENCED + HANDED, BOUND(2))        \
	X(NO_RECHECK, "get trusts the word that it read before the pin", FAILS, HITS,          \
	  BOUND(3))                                                                            \
	X(RECHECK_FIRST, "get looks again, then pins", FAILS, HITS, BOUND(3))                  \
	X(NO_MEMBARRIER, "the reaper scans without a barrier", FAILS, HITS, BOUND(3))          \
	X(BARRIER_FIRST, "the barrier, then the words are cleared", FAILS, HITS, BOUND(3))     \
	X(SCAN_FIRST, "the scan, then the barrier", FAILS, HITS, BOUND(3))                     \
	X(NO_SCAN, "the reaper does not look at the pins", FAILS, HITS, BOUND(3))              \
	X(ONE_SLOT, "it looks at one thread's", FAILS, BOTH, BOUND(3))                         \
	X(NO_COUNT, "it does not look at the count", FAILS, COUNT + HITS, BOUND(3))            \
	X(UNPIN_RELAXED, "put clears the pin relaxed", FAILS, HITS, BOUND(3))                  \
	X(SCAN_RELAXED, "the scan is relaxed", FAILS, HITS, BOUND(3))                          \
	X(FIRST_ONLY, "get looks again at its first page only", FAILS, NEXT_FIRST, BOUND(3))   \
	X(LAST_ONLY, "at its last page only", FAILS, NEXT_LAST, BOUND(3))                      \
	X(RELOAD_RELAXED, "its second look is relaxed: the next life's fields", FAILS,         \
	  NEXT_BOTH, BOUND(3))                                                                 \
	X(PUT_NO_MEMBARRIER, "put: the reaper scans without a barrier", FAILS, PUTS, BOUND(3)) \
	X(PUT_SCAN_FIRST, "put: the scan, then the barrier", FAILS, PUTS, BOUND(3))            \
	X(DYING_LATE, "dying is counted after the barrier", FAILS, PUTS, BOUND(3))             \
	X(DYING_DOWN, "what is met pinned counts as dying no more", FAILS, PUTS, BOUND(3))     \
	X(NO_DYING, "put does not look at dying", FAILS, PUTS, BOUND(3))                       \
	X(DYING_FIRST, "put looks at dying, then clears the pin", FAILS, PUTS, BOUND(3))       \
	X(QUEUED_LATE, "queued is cleared after the reaping", FAILS, PUTS, BOUND(3))           \
	X(COLLIDED_SILENT, "a get that failed does not poke", FAILS, LIFE, BOUND(3))           \
	X(F_SCAN_LOAD, "fenced: the scan is a seqcst load", FAILS, FENCED + HITS, BOUND(3))    \
	X(F_COUNT_LOAD, "fenced: the count is a seqcst load", FAILS, FENCED + COUNT + HITS,    \
	  BOUND(3))                                                                            \
	X(F_PIN_STORE, "fenced: the pin is a seqcst store", FAILS, FENCED + HITS, BOUND(3))    \
	X(F_UNPIN_STORE, "fenced: put clears by a release store, dying relaxed", FAILS,        \
	  FENCED + PUTS, BOUND(3))                                                             \
	X(CLEAR_RELAXED, "the words are cleared relaxed: the barrier orders them", SPARE,      \
	  HITS, BOUND(3))                                                                      \
	X(STATE_LATE, "DEAD after dying: the barrier orders both", SPARE, PUTS, BOUND(3))      \
	X(F_ACQ_REL, "fenced: all exchanges acq_rel, put loads dying relaxed", SPARE,          \
	  FENCED + LIFE, BOUND(3))                                                             \
	X(F_WORDS_SEQCST, "fenced: the scan a load, the words' clearing and reloading seqcst", \
	  SPARE, FENCED + LIFE, BOUND(3))
MODEL(LIST)

struct pins_model : rl::test_suite<pins_model, 3> {
	enum { THREADS = 3, ID = 1, FIRST = 1, LAST = 2, PAGES = 2 };
	enum { LIVE, DEAD, GONE };

	rl::atomic<int> word[PAGES], pin[THREADS], count, state, dying;
	rl::var<int> device; /* the registration: FIRST, LAST, both; 0 none */
	rl::mutex lock;
	rl::var<int> dead; /* lock */
	rl::atomic<int> queued, pushed, handed;
	interrupts<THREADS> irq;
	int taken;

	int what()
	{
		return shape & 15;
	}

	bool fenced()
	{
		return shape & FENCED;
	}

	bool counts()
	{
		return shape & COUNT;
	}

	bool third()
	{
		return what() == BOTH || what() == HANDED || what() == APART;
	}

	rl::memory_order sc()
	{
		return M(F_ACQ_REL) ? rl::mo_acq_rel : rl::mo_seq_cst;
	}

	void before()
	{
		for (int i = 0; i < THREADS; i++)
			pin[i]($).store(what() == PUTS && i == 0 ? ID : 0, rl::mo_relaxed);
		for (int i = 0; i < PAGES; i++)
			word[i]($).store(ID, rl::mo_relaxed);
		count($).store(0, rl::mo_relaxed);
		state($).store(LIVE, rl::mo_relaxed);
		dying($).store(0, rl::mo_relaxed);
		device($) = FIRST | LAST;
		dead($) = 0;
		queued($).store(0, rl::mo_relaxed);
		pushed($).store(0, rl::mo_relaxed);
		handed($).store(0, rl::mo_relaxed);
		irq.reset();
		if (!third())
			irq.answered[2]($).store(irq.AWAY, rl::mo_relaxed);
		taken = 0;
	}

	/* ---- kill and reaper ---- */

	void barrier(unsigned me)
	{
		if (!fenced() && !M(NO_MEMBARRIER) && !M(PUT_NO_MEMBARRIER))
			irq.membarrier(me);
	}

	/* L:PN6 */
	void poke()
	{
		if (queued($).load(rl::mo_seq_cst) || queued($).exchange(1, rl::mo_seq_cst))
			return;
		pushed($).fetch_add(1, rl::mo_seq_cst);
		futex_wake(pushed, 1);
	}

	void count_dying(int n)
	{
		dying($).store(dying($).load(rl::mo_relaxed) + n, rl::mo_seq_cst);
	}

	/* L:PN3 */
	void kill(unsigned me, int pages)
	{
		rl::memory_order mo = M(CLEAR_RELAXED)	  ? rl::mo_relaxed
				      : M(F_WORDS_SEQCST) ? rl::mo_seq_cst
							  : rl::mo_release;

		if (M(BARRIER_FIRST))
			barrier(me);
		lock.lock($);
		for (int i = 0; i < PAGES; i++) {
			if (pages & 1 << i)
				word[i]($).store(0, mo);
		}
		if (!M(STATE_LATE))
			state($).store(DEAD, rl::mo_release);
		dead($) = 1;
		if (!M(DYING_LATE))
			count_dying(1);
		if (M(STATE_LATE))
			state($).store(DEAD, rl::mo_release);
		lock.unlock($);
		poke();
	}

	int look_at(rl::atomic<int> &it, bool loads)
	{
		if (fenced() && !loads)
			return it($).fetch_add(0, sc());
		return it($).load(WEAK(SCAN_RELAXED, mo_seq_cst, mo_relaxed));
	}

	/* L:PN5 */
	bool scan()
	{
		bool found = false;

		for (int i = 0; i < THREADS && !M(NO_SCAN); i++) {
			if (i == 2 && M(ONE_SLOT))
				break;
			found |= look_at(pin[i], M(F_SCAN_LOAD) || M(F_WORDS_SEQCST)) == ID;
		}
		return found;
	}

	bool sort(bool found)
	{
		bool pinned;

		lock.lock($);
		pinned = found ||
			 (!M(NO_COUNT) && look_at(count, M(F_COUNT_LOAD) || M(F_WORDS_SEQCST)));
		if (pinned)
			dead($) = 1;
		else
			state($).store(GONE, rl::mo_release);
		if (!pinned || M(DYING_DOWN))
			count_dying(-1);
		lock.unlock($);
		return !pinned;
	}

	/* L:PN4. true: deregistered. */
	bool reap(unsigned me)
	{
		bool batch, found = false, early = M(SCAN_FIRST) || M(PUT_SCAN_FIRST);

		lock.lock($);
		batch = (int)dead($);
		dead($) = 0;
		lock.unlock($);
		if (!batch)
			return false;
		if (early)
			found = scan();
		if (!M(BARRIER_FIRST))
			barrier(me);
		if (M(DYING_LATE) && dying($).load(rl::mo_relaxed) == 0)
			count_dying(1);
		if (!early)
			found = scan();
		if (!sort(found))
			return false;
		device($) = 0;
		return true;
	}

	/* Until the region is deregistered. */
	void reclaimer(unsigned me)
	{
		for (bool gone = false; !gone; taken++) {
			while (pushed($).load(rl::mo_seq_cst) == taken)
				futex_wait(pushed, taken);
			if (!M(QUEUED_LATE))
				queued($).store(0, rl::mo_seq_cst);
			gone = reap(me);
			if (M(QUEUED_LATE))
				queued($).store(0, rl::mo_seq_cst);
		}
	}

	/* Another registration, with the same id. */
	void live_again(int pages)
	{
		device($) = pages;
		lock.lock($);
		state($).store(LIVE, rl::mo_release);
		for (int i = 0; i < PAGES; i++) {
			if (pages & 1 << i)
				word[i]($).store(ID, rl::mo_release);
		}
		lock.unlock($);
	}

	void life(unsigned me)
	{
		if (what() != APART)
			kill(me, FIRST | LAST);
		if (what() == HITS) {
			reap(me);
			return;
		}
		reclaimer(me);
		if (what() == NEXT_BOTH || what() == NEXT_FIRST)
			live_again(what() == NEXT_BOTH ? FIRST | LAST : FIRST);
		if (what() == NEXT_LAST || what() == LAST_DIES)
			live_again(LAST);
		if (what() == LAST_DIES) {
			kill(me, LAST);
			reclaimer(me);
		}
	}

	/* ---- get and put ---- */

	/* L:PN1 */
	void pin_it(unsigned t)
	{
		irq.point(t);
		if (counts())
			count($).fetch_add(1, sc());
		else if (!fenced())
			pin[t]($).store(ID, rl::mo_relaxed);
		else if (M(F_PIN_STORE))
			pin[t]($).store(ID, rl::mo_seq_cst);
		else
			pin[t]($).exchange(ID, sc());
	}

	/* L:PN2 */
	bool same(unsigned t, int w)
	{
		rl::memory_order mo = M(RELOAD_RELAXED)	  ? rl::mo_relaxed
				      : M(F_WORDS_SEQCST) ? rl::mo_seq_cst
							  : rl::mo_acquire;

		irq.point(t);
		if (!M(LAST_ONLY) && word[0]($).load(mo) != w)
			return false;
		irq.point(t);
		return M(FIRST_ONLY) || word[1]($).load(mo) == w;
	}

	/* hit() by an exchange, and pokes whosever the pin was by now; look() as a put. */
	void collided(unsigned t)
	{
		if (counts()) {
			put(t, t);
			return;
		}
		irq.point(t);
		pin[t]($).exchange(0, sc());
		irq.point(t);
		if (!M(COLLIDED_SILENT) && dying($).load(rl::mo_seq_cst))
			poke();
	}

	bool get(unsigned t)
	{
		bool again = true;
		int w;

		irq.point(t);
		w = word[0]($).load(rl::mo_acquire);
		if (!w)
			return false;
		if (M(RECHECK_FIRST))
			again = same(t, w);
		pin_it(t);
		if (!M(RECHECK_FIRST) && !M(NO_RECHECK))
			again = same(t, w);
		if (!again)
			collided(t);
		return again;
	}

	void use(unsigned t)
	{
		irq.point(t);
		RL_ASSERT((int)device($) == (FIRST | LAST));
	}

	bool unpin_slow(unsigned slot)
	{
		if (counts())
			count($).fetch_add(-1, sc());
		else if (M(F_UNPIN_STORE))
			pin[slot]($).store(0, rl::mo_release);
		else
			pin[slot]($).exchange(0, sc());
		return dying($).load(M(F_ACQ_REL) || M(F_UNPIN_STORE) ? rl::mo_relaxed
								      : rl::mo_seq_cst) != 0;
	}

	bool unpin(unsigned t, unsigned slot)
	{
		bool some = false;

		if (M(DYING_FIRST))
			some = dying($).load(rl::mo_relaxed) != 0;
		irq.point(t);
		pin[slot]($).store(0, WEAK(UNPIN_RELAXED, mo_release, mo_relaxed));
		irq.point(t);
		if (!M(DYING_FIRST))
			some = dying($).load(rl::mo_relaxed) != 0;
		return some;
	}

	/* L:PN7 */
	void put(unsigned t, unsigned slot)
	{
		bool some;

		irq.point(t);
		some = fenced() || counts() ? unpin_slow(slot) : unpin(t, slot);
		irq.point(t);
		if (some && !M(NO_DYING) && state($).load(rl::mo_relaxed) == DEAD)
			poke();
	}

	void getter(unsigned t)
	{
		bool got = what() == PUTS || get(t);

		if (got)
			use(t);
		if (what() == HANDED) {
			irq.point(t);
			handed($).store(got ? 1 : 2, rl::mo_release);
			futex_wake(handed, 1);
		} else if (got) {
			put(t, t);
		}
	}

	/* Asleep it is on no processor. */
	void putter(unsigned t)
	{
		int h;

		while (!(h = handed($).fetch_add(0, rl::mo_acquire))) {
			irq.point(t);
			futex_wait(handed, 0);
		}
		if (h == 1)
			put(t, 0);
	}

	void thread(unsigned t)
	{
		if (t == 0)
			getter(t);
		else if (t == 1)
			life(t);
		else if (what() == BOTH)
			getter(t);
		else if (what() == HANDED)
			putter(t);
		else if (what() == APART)
			kill(t, FIRST | LAST);
		if (t == 0 || (t == 2 && third()))
			irq.leave(t);
	}
};
MODEL_MAIN(pins_model)
