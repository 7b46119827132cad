"""Platform ``azure``: machines of Microsoft's cloud.

What is created is decided by pure modules (``names``, ``bodies``, ``template``, ``skus``, ``sizes``, ``quota``,
``prices``, ``spread``, ``images_ref``), which import no SDK and ask nobody.
"""
