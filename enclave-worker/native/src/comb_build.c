/** The public half of the comb: the table of a point's multiples. What the entries are for: `comb.h`. */

#include <stdlib.h>

#include "comb.h"

/**
 * Everything that building needs. `entries` has the blocks of one entry number side by side, so that one call of
 * `affine_add` serves all blocks.
 */
struct build {
    blst_p2 chain[COMB_BITS];
    blst_p2_affine powers[COMB_BITS];
    blst_p2_affine entries[COMB_ENTRIES][COMB_BLOCKS];
    blst_p2_affine addends[COMB_ENTRIES / 2][COMB_BLOCKS];
    struct inversion inversions[COMB_ENTRIES / 2 * COMB_BLOCKS];
    uint64_t faulty;
};

/** powers[i] = 2^i * base, in affine coordinates. */
static void fill_powers(struct build *build, const blst_p2_affine *base)
{
    const blst_p2 *chain[COMB_BITS];
    blst_p2_from_affine(&build->chain[0], base);
    for (size_t i = 1; i < COMB_BITS; i++) blst_p2_double(&build->chain[i], &build->chain[i - 1]);
    for (size_t i = 0; i < COMB_BITS; i++) chain[i] = &build->chain[i];
    blst_p2s_to_affine(build->powers, chain, COMB_BITS);
}

/** The power of two that a tooth of a block's first column stands for. */
static const blst_p2_affine *tooth_power(const struct build *build, size_t tooth, size_t block)
{
    return &build->powers[tooth * COMB_COLUMNS + block * COMB_STEPS];
}

/** Entry 0 of every block: the highest tooth minus all others. */
static void fill_first_entries(struct build *build, struct faults faults)
{
    for (size_t block = 0; block < COMB_BLOCKS; block++) {
        build->entries[0][block] = *tooth_power(build, COMB_TEETH - 1, block);
    }
    for (size_t tooth = 0; tooth < COMB_TEETH - 1; tooth++) {
        for (size_t block = 0; block < COMB_BLOCKS; block++) {
            blst_p2_affine *addend = &build->addends[0][block];
            *addend = *tooth_power(build, tooth, block);
            blst_fp2_cneg(&addend->y, &addend->y, true);
        }
        affine_add(build->entries[0], build->addends[0], COMB_BLOCKS, build->inversions, faults);
    }
}

/** Entry v + 2^tooth is entry v with that tooth's sign turned from - to +: twice its power is added. */
static void fill_other_entries(struct build *build, struct faults faults)
{
    for (size_t tooth = 0; tooth < COMB_TEETH - 1; tooth++) {
        size_t known = (size_t)1 << tooth;
        for (size_t entry = 0; entry < known; entry++) {
            for (size_t block = 0; block < COMB_BLOCKS; block++) {
                build->entries[known + entry][block] = build->entries[entry][block];
                build->addends[entry][block] = tooth_power(build, tooth, block)[1]; /* the next power of two */
            }
        }
        affine_add(build->entries[known], build->addends[0], known * COMB_BLOCKS, build->inversions, faults);
    }
}

bool comb_build(struct comb_table *table, const blst_p2_affine *base)
{
    if (blst_p2_affine_is_inf(base)) return false;
    struct build *build = malloc(sizeof *build);
    if (build == NULL) return false;
    struct faults faults = {&build->faulty, 1};
    build->faulty = 0;
    fill_powers(build, base);
    fill_first_entries(build, faults);
    fill_other_entries(build, faults);
    for (size_t block = 0; block < COMB_BLOCKS; block++) {
        for (size_t entry = 0; entry < COMB_ENTRIES; entry++) {
            table->entries[block][entry] = build->entries[entry][block];
        }
    }
    bool complete = build->faulty == 0;
    free(build);
    return complete;
}
