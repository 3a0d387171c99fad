// SPDX-License-Identifier: MIT
/*
 * words.cpp - the registration cache: what a word of the table says, and when it is believed
 * (G1, G5).
 *
 * Covers: hit(), look(), settle(), hmmu_regcache_valid() in src/regcache/get.c; rc_word(),
 * rc_table_cover(), rc_table_set() in table.c; rc_slab_grow() in slab.c, rc_region_of() in
 * regcache.h; live(), replace() in miss.c; invalidate(), rc_kill() in kill.c; rc_pins_mark()
 * in pins.c. (That a registration may not be undone is pins.cpp; that a miss installs only
 * what did not collide is read.cpp.)
 *
 * PUBLISH: region 2 in a new chunk, its words in a new leaf.
 *
 *	live(), with the lock			get
 *	chunk, leaf			[CAS]	load leaf		[acquire]
 *	fill the region				load first word		[acquire]
 *	words = 2		[release]	load first, last: the same?
 *						load chunk; read the region
 *	[Required: who finds the word finds leaf, chunk and region filled]
 *
 * REPLACE: region 1 of the first page gives way to region 2 of both: a get of both pages is
 * never answered 1. SCAN: who scans the pins meets the id of a chunk that was made meanwhile;
 * membarrier orders it with the getter only if that had the id before, so pin is a release.
 *
 * TOLD: the mm's source is told afterwards; the change's caller has gone on.
 *
 *	who is told				get
 *	epoch + MARK		[seqcst]	load first word		[acquire]
 *	the caller goes on			pin
 *	clear the words		[release]	load epoch: decided?	[acquire]
 *	epoch + CLEAR		[seqcst]	load first, last: the same?
 *	[Required: a get that begins after the caller went on fails: it sees the mark, or its
 *	 taking back and then the cleared words]
 *
 * SETTLE: one that finds the mm undecided waits, and looks at the words once more. VALID:
 * valid() of an access that began after the caller went on. BRACKETED: valid() of an access
 * that met the new memory, of a source that brackets.
 */
#include "membarrier.h"

enum { PUBLISH, REPLACE, SCAN, TOLD, SETTLE, VALID, BRACKETED };

#define LIST(X)                                                                               \
	X(PUBLISHED, "leaf, chunk, region, words", CLEAN, PUBLISH, FULL)                      \
	X(REPLACED, "a region that grows", CLEAN, REPLACE, FULL)                              \
	X(SCANNED, "a pin of a new chunk is scanned", CLEAN, SCAN, BOUND(3))                  \
	X(TOLD_LATER, "the mark, the words, the mark taken back", CLEAN, TOLD, FULL)          \
	X(SETTLED, "undecided: asked, and then the words", CLEAN, SETTLE, BOUND(5))           \
	X(VALID_TOLD, "valid(), told afterwards", CLEAN, VALID, FULL)                         \
	X(VALID_BRACKETED, "valid(), bracketed", CLEAN, BRACKETED, FULL)                      \
	X(WORDS_RELAXED, "the words are stored relaxed", FAILS, PUBLISH, FULL)                \
	X(WORDS_FIRST, "the words, then the region", FAILS, PUBLISH, FULL)                    \
	X(LOAD_RELAXED, "get loads the words relaxed", FAILS, PUBLISH, FULL)                  \
	X(LEAF_RELAXED, "get loads the leaf relaxed", FAILS, PUBLISH, FULL)                   \
	X(LEAF_CAS_RELAXED, "the leaf is made known relaxed", FAILS, PUBLISH, FULL)           \
	X(CHUNK_RELAXED, "get loads the chunk relaxed: the word ordered it", SPARE, PUBLISH,  \
	  FULL)                                                                               \
	X(FIRST_ONLY, "the last page's word is not looked at", FAILS, REPLACE, FULL)          \
	X(PIN_RELAXED, "the pin is stored relaxed, met without its chunk", FAILS, SCAN,       \
	  BOUND(3))                                                                           \
	X(SCAN_RELAXED, "the pin is loaded relaxed", FAILS, SCAN, BOUND(3))                   \
	X(NO_EPOCH, "get does not look at the epoch", FAILS, TOLD, FULL)                      \
	X(WORDS_BEFORE_EPOCH, "get looks at the words again, then at the epoch", FAILS, TOLD, \
	  FULL)                                                                               \
	X(NO_RELOAD, "it does not look at the words again", FAILS, TOLD, FULL)                \
	X(EPOCH_RELAXED, "it loads the epoch relaxed", FAILS, TOLD, FULL)                     \
	X(MARK_LATE, "marked after the caller went on", FAILS, TOLD, FULL)                    \
	X(CLEAR_EARLY, "the mark is taken back, then the words go", FAILS, TOLD, FULL)        \
	X(CLEAR_RELAXED, "the mark is taken back relaxed", FAILS, TOLD, FULL)                 \
	X(SETTLE_TRUSTS, "who waited does not look at the words", FAILS, SETTLE, BOUND(5))    \
	X(VALID_SWAPPED, "valid() loads changed, then the epoch", FAILS, VALID, FULL)         \
	X(VALID_NO_FENCE, "no fence between the access and valid()", FAILS, BRACKETED, FULL)  \
	X(CHANGE_FIRST, "the memory changes, then the region knows", FAILS, BRACKETED, FULL)  \
	X(CLEARED_RELAXED, "the words are cleared relaxed: taking the mark back orders them", \
	  SPARE, TOLD, BOUND(4))
MODEL(LIST)

struct words_model : rl::test_suite<words_model, 3> {
	enum { FIRST = 1, LAST = 2, SMALL = 1, LARGE = 2 };

	rl::atomic<int> leaf, chunk, word[2], pin, epoch, returned, changed, page;
	rl::var<int> leaf_is_zero, covers[3]; /* by id: pages */
	rl::mutex lock;
	interrupts<3> irq;

	bool fresh()
	{
		return shape == PUBLISH || shape == SCAN;
	}

	void before()
	{
		int id = fresh() ? 0 : shape == REPLACE ? SMALL : LARGE;

		leaf($).store(!fresh(), rl::mo_relaxed);
		chunk($).store(!fresh(), rl::mo_relaxed);
		word[0]($).store(id, rl::mo_relaxed);
		word[1]($).store(shape == REPLACE ? 0 : id, rl::mo_relaxed);
		pin($).store(0, rl::mo_relaxed);
		epoch($).store(0, rl::mo_relaxed);
		returned($).store(0, rl::mo_relaxed);
		changed($).store(0, rl::mo_relaxed);
		page($).store(1, rl::mo_relaxed);
		leaf_is_zero($) = !fresh();
		covers[SMALL]($) = FIRST;
		covers[LARGE]($) = fresh() ? 0 : FIRST | LAST;
		irq.reset();
		for (unsigned t = 0; t < 3; t++) {
			if (shape != SCAN)
				irq.answered[t]($).store(irq.AWAY, rl::mo_relaxed);
		}
	}

	/* ---- who registers ---- */

	/* L:WD1 */
	void grow(unsigned t)
	{
		int none = 0;

		irq.point(t);
		chunk($).compare_exchange_strong(none, 1, rl::mo_seq_cst);
		none = 0;
		leaf_is_zero($) = 1;
		irq.point(t);
		leaf($).compare_exchange_strong(none, 1,
						WEAK(LEAF_CAS_RELAXED, mo_seq_cst, mo_relaxed),
						rl::mo_relaxed);
	}

	/* L:WD2 */
	void set(unsigned t, int first, int last)
	{
		rl::memory_order mo = M(WORDS_RELAXED) || M(CLEARED_RELAXED) ? rl::mo_relaxed
									     : rl::mo_release;

		irq.point(t);
		word[0]($).store(first, mo);
		irq.point(t);
		word[1]($).store(last, mo);
	}

	void live(unsigned t)
	{
		if (fresh())
			grow(t);
		lock.lock($);
		if (shape == REPLACE)
			word[0]($).store(0, rl::mo_release);
		if (M(WORDS_FIRST))
			set(t, LARGE, LARGE);
		if (fresh())
			covers[LARGE]($) = FIRST | LAST;
		if (!M(WORDS_FIRST))
			set(t, LARGE, LARGE);
		lock.unlock($);
	}

	/* ---- who changes ---- */

	/* L:WD5 */
	void callback()
	{
		lock.lock($);
		changed($).store(1, rl::mo_release);
		set(1, 0, 0);
		lock.unlock($);
	}

	void told()
	{
		if (!M(MARK_LATE))
			epoch($).fetch_add(1, rl::mo_seq_cst);
		returned($).store(1, rl::mo_release);
		if (M(MARK_LATE))
			epoch($).fetch_add(1, rl::mo_seq_cst);
		if (!M(CLEAR_EARLY))
			callback();
		epoch($).fetch_sub(1, WEAK(CLEAR_RELAXED, mo_seq_cst, mo_relaxed));
		if (M(CLEAR_EARLY))
			callback();
	}

	void bracketed()
	{
		if (M(CHANGE_FIRST))
			page($).store(2, rl::mo_release);
		callback();
		/* In the kernel, which has locks of its own. */
		if (!M(CHANGE_FIRST))
			page($).store(2, rl::mo_release);
	}

	/* ---- get ---- */

	int load(int i)
	{
		return word[i]($).load(WEAK(LOAD_RELAXED, mo_acquire, mo_relaxed));
	}

	/* L:WD4 */
	bool same(int w)
	{
		if (M(NO_RELOAD))
			return true;
		if (load(0) != w)
			return false;
		return M(FIRST_ONLY) || load(1) == w;
	}

	/* L:WD3 */
	bool decided()
	{
		return !epoch($).load(WEAK(EPOCH_RELAXED, mo_acquire, mo_relaxed));
	}

	bool settle()
	{
		rl::linear_backoff wait;

		if (shape != SETTLE)
			return false;
		while (!decided())
			wait.yield($);
		return true;
	}

	bool believed(int w)
	{
		bool good;

		if (M(NO_EPOCH))
			return same(w);
		if (M(WORDS_BEFORE_EPOCH))
			return same(w) && decided();
		good = decided();
		if (!same(w))
			return false;
		if (good || !settle())
			return good;
		return M(SETTLE_TRUSTS) || same(w);
	}

	/* The region's id; 0: not there. */
	int get()
	{
		int w;

		irq.point(0);
		if (!leaf($).load(WEAK(LEAF_RELAXED, mo_acquire, mo_relaxed)))
			return 0;
		RL_ASSERT((int)leaf_is_zero($) == 1);
		irq.point(0);
		w = load(0);
		if (!w)
			return 0;
		irq.point(0);
		pin($).store(w, WEAK(PIN_RELAXED, mo_release, mo_relaxed));
		irq.point(0);
		return believed(w) ? w : 0;
	}

	void getter()
	{
		int gone = returned($).load(rl::mo_acquire), id = get();

		if (!id)
			return;
		RL_ASSERT(!gone);
		RL_ASSERT(chunk($).load(WEAK(CHUNK_RELAXED, mo_acquire, mo_relaxed)));
		RL_ASSERT((int)covers[id]($) == (FIRST | LAST));
	}

	/* ---- who scans, who asks valid() ---- */

	/* L:WD6. Of another region that died. */
	void scanner()
	{
		int id;

		irq.membarrier(2);
		id = pin($).load(WEAK(SCAN_RELAXED, mo_seq_cst, mo_relaxed));
		RL_ASSERT(!id || chunk($).load(rl::mo_acquire));
	}

	/* L:WD7 */
	void valid()
	{
		int gone = returned($).load(rl::mo_acquire), v, e, c = 0;

		v = page($).load(rl::mo_relaxed);
		if (M(VALID_SWAPPED))
			c = changed($).load(rl::mo_acquire);
		if (!M(VALID_NO_FENCE))
			rl::atomic_thread_fence(rl::mo_acquire, $);
		e = epoch($).load(rl::mo_acquire);
		if (!M(VALID_SWAPPED))
			c = changed($).load(rl::mo_acquire);
		RL_ASSERT(e || c || (!gone && v == 1));
	}

	void thread(unsigned t)
	{
		if (t == 0) {
			if (shape == VALID || shape == BRACKETED)
				valid();
			else
				getter();
		} else if (t == 1) {
			if (shape == BRACKETED)
				bracketed();
			else if (shape >= TOLD)
				told();
			else
				live(t);
		} else if (shape == SCAN) {
			scanner();
		}
		if (shape == SCAN && t != 2)
			irq.leave(t);
	}
};
MODEL_MAIN(words_model)
