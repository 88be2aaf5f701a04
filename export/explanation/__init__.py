"""Explanation: which pixels one detection rests on, by a black-box method that works for every contract model (D-RISE).

`masks` hides parts of the picture, `drise` weighs them by what is still detected, `faith` measures whether the map is
true by deleting and inserting pixels in its order, `overlay` draws it.
"""
